/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "relay_rtcp.h"

#include <string.h>
#include <time.h>

#define TELL 500000000ULL /* ns: a leg's RTCP is told of no more often */

/* How each end fares is in its RTCP, which the controller reads the beginning of. */
static void tell(struct relay *relay, const struct flow_slot *slot, const __u8 *data, size_t length)
{
	struct engine_event event = {.key = slot->wanted.local, .type = ENGINE_EVENT_RTCP};

	event.length = (__u32)(length < ENGINE_EVENT_BYTES ? length : ENGINE_EVENT_BYTES);
	memcpy(event.data, data, event.length);
	worker_page_mention(relay->page, &event);
}

void relay_tell_rtcp(struct relay *relay, struct flow_slot *slot, const struct relay_packet *packet)
{
	if (slot->wanted.rtcp == ENGINE_RAW || relay->now - slot->told < TELL)
		return;
	slot->told = relay->now;
	tell(relay, slot, packet->data, packet->length);
}

bool relay_hear_rtcp(struct relay *relay, struct flow_slot *slot, const struct relay_packet *packet)
{
	struct flow_slot *stream = slot->wanted.rtcp ? slot->companion : slot;
	int lost;

	if (!stream || !relay_ends_rtcp(stream))
		return false;
	lost = rtcp_report_lost(packet->data, packet->length);
	rtcp_report_hears(&stream->heard, packet->data, packet->length, relay->now);
	if (lost >= 0 && relay_ends_rtcp(stream->partner))
		stream->partner->stage->type->lost(stream->partner->stage->state, (unsigned)lost);
	return true;
}

struct flow_slot *relay_rtcp_way(struct flow_slot *slot)
{
	struct flow_slot *companion = slot->companion;

	if (!companion)
		return slot;
	if (slot->wanted.demux || (slot->wanted.rtcp && companion->partner->wanted.demux))
		return companion;
	return slot;
}

struct flow_slot *relay_report_way(struct flow_slot *stream)
{
	struct flow_slot *way = stream->partner->wanted.mux ? stream : NULL;

	if (stream->companion && !stream->partner->wanted.demux)
		way = stream->companion;
	return way && address_port(&way->target) && !stream->wanted.held ? way : NULL;
}

static __u64 wall_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (__u64)now.tv_sec * 1000000000ULL + (__u64)now.tv_nsec;
}

size_t relay_write_report(struct relay *relay, struct flow_slot *stream, struct flow_slot *way, __u8 *data)
{
	struct flow_slot *back = stream->partner;
	size_t length;

	stream->sender.clock = stream->stage->type->clock(stream->stage->state);
	length = rtcp_report_write(data, &stream->sender, &back->heard, &back->track, &back->tally,
				   relay->now, wall_clock());
	if (!length)
		return 0;
	tell(relay, stream, data, RTCP_SENDER_BYTES);
	return flow_protect_report(way, data, &length) == REASON_FORWARDED ? length : 0;
}
