/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "relay.h"

#include <string.h>
#include <time.h>

#include "packet.h"

static __u64 monotonic(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (__u64)now.tv_sec * 1000000000ULL + (__u64)now.tv_nsec;
}

/* Address, then port. *unbound: the port is still to be learned. */
static enum reason check_source(const struct flow_slot *slot, const struct relay_packet *packet,
				bool *unbound)
{
	__be16 bound = flow_bound_port(slot);

	*unbound = !bound;
	if (packet->address != slot->entry.rule.source_address)
		return REASON_WRONG_SOURCE;
	return !bound || packet->port == bound ? REASON_FORWARDED : REASON_WRONG_SOURCE;
}

static enum reason check_datagram(const struct flow_slot *slot, const struct relay_packet *packet)
{
	if (packet->ttl <= 1)
		return REASON_TTL;
	if (packet->truncated)
		return REASON_BAD_LENGTH;
	if (!packet->port)
		return REASON_BAD_SOURCE_PORT;
	return slot->entry.rule.state == FLOW_OFF ? REASON_OFF : REASON_FORWARDED;
}

/* RTCP beside RTP on one port (RFC 5761) teaches nothing: only the flow's own kind does. */
static bool may_teach(const struct flow_slot *slot, enum packet_kind kind)
{
	return kind == PACKET_RTP || slot->entry.rule.flags & FLAG_RTCP;
}

/* Source, content, and where the port is not known yet, learning it from the first packet that may teach. */
static enum reason admit(struct flow_slot *slot, const struct relay_packet *packet, enum packet_kind *kind)
{
	bool rtcp_port = slot->entry.rule.flags & FLAG_RTCP, unbound;
	enum reason reason = check_source(slot, packet, &unbound);

	if (reason == REASON_FORWARDED)
		reason = packet_check(packet->data, packet->length, rtcp_port, kind);
	if (reason == REASON_FORWARDED && unbound && may_teach(slot, *kind))
		flow_learn(slot, packet->port);
	return reason;
}

/* The whole decision, in the order of the kernel relay. */
static enum reason judge(struct flow_slot *slot, const struct relay_packet *packet, enum packet_kind *kind)
{
	enum reason reason = check_datagram(slot, packet);

	if (reason == REASON_FORWARDED)
		reason = admit(slot, packet, kind);
	if (reason == REASON_FORWARDED && (!slot->target.sin_port || !slot->target.sin_addr.s_addr))
		reason = REASON_NO_NEXTHOP;
	return reason;
}

static void note_rejected(struct flow_tally *tally, const struct relay_packet *packet)
{
	tally->rejected++;
	memset(tally->rejected_address, 0, 10);
	memset(tally->rejected_address + 10, 0xff, 2);
	memcpy(tally->rejected_address + 12, &packet->address, 4);
	tally->rejected_port = packet->port;
}

static void note_drop(struct flow_slot *slot, const struct relay_packet *packet, enum reason reason)
{
	if (reason == REASON_WRONG_SOURCE) {
		note_rejected(&slot->tally, packet);
		return;
	}
	slot->tally.dropped++;
	slot->tally.last_reason = reason;
}

static void observe(struct flow_slot *slot, const struct relay_packet *packet, enum packet_kind kind,
		    __u64 now)
{
	struct flow *entry = &slot->entry;
	struct rtp_packet rtp;

	flow_observe(&entry->track, packet->length, packet->tos, now);
	if (kind == PACKET_RTCP)
		return;
	rtp = packet_read(packet->data, now);
	rtp_observe(&entry->track, &slot->tally, &rtp, entry->rule.clock);
}

static __u8 outgoing_tos(const struct flow_slot *slot, __u8 tos)
{
	__u8 dscp = slot->entry.rule.dscp;

	return dscp == DSCP_KEEP ? tos : dscp << 2 | (tos & 3);
}

static void count(struct reason_count *reasons, enum reason reason, __u32 length)
{
	reasons[reason].packets++;
	reasons[reason].bytes += length;
}

/* The host would not take a packet: no route, refused by a filter, buffer full. It was not forwarded then. */
static void note_unsent(struct flow_slot *slot, __u32 length, struct reason_count *reasons)
{
	slot->entry.track.packets--;
	slot->entry.track.bytes -= length;
	slot->tally.dropped++;
	slot->tally.last_reason = REASON_NO_NEXTHOP;
	count(reasons, REASON_NO_NEXTHOP, length);
}

static void send_all(struct flow_slot *slot, struct relay_batch *batch, unsigned ready,
		     struct reason_count *reasons)
{
	for (unsigned next = 0; next < ready; next++) {
		unsigned sent = relay_batch_send(batch, slot->partner->socket, next, ready);

		for (; sent; sent--, next++)
			count(reasons, REASON_FORWARDED, (__u32)batch->out_data[next].iov_len);
		if (next < ready)
			note_unsent(slot, (__u32)batch->out_data[next].iov_len, reasons);
	}
}

void relay_socket(struct flow_slot *slot, struct relay_batch *batch, struct reason_count *reasons)
{
	unsigned received = relay_batch_receive(batch, slot->socket), ready = 0;
	__u64 now = monotonic();

	for (unsigned i = 0; i < received; i++) {
		struct relay_packet packet = relay_batch_packet(batch, i);
		enum packet_kind kind = PACKET_RTP;
		enum reason reason = judge(slot, &packet, &kind);

		if (reason != REASON_FORWARDED) {
			note_drop(slot, &packet, reason);
			count(reasons, reason, packet.length);
			continue;
		}
		observe(slot, &packet, kind, now);
		relay_batch_put(batch, ready++, &packet, &slot->target, outgoing_tos(slot, packet.tos));
	}
	send_all(slot, batch, ready, reasons);
}
