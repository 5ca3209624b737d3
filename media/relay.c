/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "relay.h"

#include <string.h>
#include <time.h>

#include "flow_stage.h"
#include "packet.h"
#include "relay_copies.h"
#include "relay_ice.h"
#include "relay_rtcp.h"
#include "relay_socket.h"
#include "relay_source.h"

#define OFTEN	 5000000ULL /* ns between two looks at a socket, below which more than one packet may wait */
#define RTP_SSRC 8	    /* place in the header */
#define REPORT	 2500000000ULL /* ns: reports are 2.5 to 5 s apart (RFC 3550 §6.2) */
#define OWN_TTL	 64
#define OWN_TOS	 0xb8 /* expedited forwarding: RFC 4594 §4.1 */

__u64 relay_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (__u64)now.tv_sec * 1000000000ULL + (__u64)now.tv_nsec;
}

static enum reason check_datagram(const struct flow_slot *slot, const struct relay_packet *packet)
{
	if (packet->ttl <= 1)
		return REASON_TTL;
	if (packet->truncated)
		return REASON_BAD_LENGTH;
	if (!address_port(packet->source))
		return REASON_BAD_SOURCE_PORT;
	/* A handshake goes on while a call is held. */
	return slot->wanted.held && !slot->wanted.dtls.role ? REASON_OFF : REASON_FORWARDED;
}

/* One key's RTCP indexes must not be counted in two places: beside RTP, only where that is agreed. */
static bool stray(const struct flow_slot *slot, enum packet_kind kind)
{
	return slot->crypto && kind == PACKET_RTCP && !slot->wanted.rtcp && !slot->wanted.mux;
}

static enum reason check_content(const struct flow_slot *slot, const struct relay_packet *packet,
				 enum packet_kind *kind)
{
	if (slot->wanted.rtcp != ENGINE_RAW)
		return packet_check(packet->data, packet->length, slot->wanted.rtcp, kind);
	*kind = PACKET_RTCP;
	return REASON_FORWARDED;
}

/* Content, then authenticity; and where the source is not known yet, learning it from what passed both. */
static enum reason admit(struct flow_slot *slot, struct relay_packet *packet,
			 const struct relay_source *source, enum packet_kind *kind)
{
	enum reason reason = check_content(slot, packet, kind);

	if (reason == REASON_FORWARDED && stray(slot, *kind))
		reason = REASON_NOT_MUXED;
	if (reason == REASON_FORWARDED)
		reason = flow_unprotect(slot, packet->data, &packet->length, *kind == PACKET_RTCP);
	return reason == REASON_FORWARDED ? relay_bind_source(slot, packet, source, *kind) : reason;
}

static void tell(struct relay *relay, const struct flow_slot *slot, enum engine_event_type type,
		 const char *text)
{
	struct engine_event event = {.key = slot->wanted.local, .type = type};

	event.length = (__u32)strnlen(text, ENGINE_EVENT_BYTES);
	memcpy(event.data, text, event.length);
	worker_page_tell(relay->page, &event);
}

static void note_dtls(struct relay *relay, struct flow_slot *slot, enum dtls_state before,
		      enum dtls_state after)
{
	if (before == after)
		return;
	if (after == DTLS_CONNECTED && !flow_crypto_derive(&relay->place, slot))
		tell(relay, slot, ENGINE_EVENT_SECURE, "");
	else if (after != DTLS_SHAKING) {
		slot->security = ENGINE_FAILED;
		tell(relay, slot, ENGINE_EVENT_FAILED, dtls_error(slot->crypto->dtls));
	}
}

/* A hello may come before any RTP: it has to come from the right address, and teaches the port, to answer to.
 */
static bool take_dtls(struct relay *relay, struct flow_slot *slot, const struct relay_packet *packet,
		      bool unbound)
{
	struct flow_crypto *crypto = slot->crypto;
	enum dtls_state before;

	if (!slot->wanted.dtls.role || !dtls_owns(packet->data, packet->length))
		return false;
	if (!crypto || !crypto->dtls)
		return true;
	if (unbound)
		flow_learn(slot, address_port(packet->source));
	before = dtls_state(crypto->dtls);
	note_dtls(relay, slot, before, dtls_receive(crypto->dtls, packet->data, packet->length, relay->now));
	return true;
}

static void note_rejected(struct flow_tally *tally, const struct relay_packet *packet)
{
	tally->rejected++;
	address_from_socket(packet->source, tally->rejected_address);
	tally->rejected_port = address_port(packet->source);
}

static void note_drop(struct relay *relay, struct flow_slot *slot, const struct relay_packet *packet,
		      enum reason reason)
{
	struct reason_count *count = &relay->page->reasons[reason];

	count->packets++;
	count->bytes += packet->length;
	if (reason == REASON_WRONG_SOURCE) {
		note_rejected(&slot->tally, packet);
		return;
	}
	slot->tally.dropped++;
	slot->tally.last_reason = reason;
}

/* flow_rule.clock of a rate in Hz: see bpf/flow.h. */
static __u32 scaled_clock(__u32 rate)
{
	return (__u32)(((__u64)rate << (32 + CLOCK_SHIFT)) / 1000000000ULL);
}

/* rtp: NULL for RTCP; read before the packet was changed. */
static void observe(struct relay *relay, struct flow_slot *slot, size_t bytes, __u8 tos,
		    const struct rtp_packet *rtp)
{
	flow_observe(&slot->track, bytes, tos, relay->now);
	if (rtp)
		rtp_observe(&slot->track, &slot->tally, rtp, scaled_clock(slot->wanted.clock_rate));
}

/* The host would not take a packet: no route, refused by a filter, buffer full. */
static void note_unsent(struct relay *relay, struct flow_slot *slot, size_t length)
{
	struct relay_packet packet = {.length = length};

	slot->track.packets--;
	slot->track.bytes -= length;
	note_drop(relay, slot, &packet, REASON_NO_NEXTHOP);
}

static void flush(struct relay *relay, struct flow_slot *slot)
{
	struct reason_count *forwarded = &relay->page->reasons[REASON_FORWARDED];

	for (unsigned next = 0; next < relay->ready; next++) {
		unsigned sent = relay_batch_send(&relay->batch, slot->partner->socket, next, relay->ready);

		forwarded->packets += sent;
		for (; sent; sent--, next++)
			forwarded->bytes += relay->batch.out_data[next].iov_len;
		if (next < relay->ready)
			note_unsent(relay, slot, relay->batch.out_data[next].iov_len);
	}
	relay->ready = 0;
	relay->made = 0;
}

static __u8 outgoing_tos(const struct flow_slot *slot, __u8 tos)
{
	__u8 dscp = slot->wanted.dscp;

	return dscp == DSCP_KEEP ? tos : (__u8)(dscp << 2 | (tos & 3));
}

/* A packet to the flow's target, by a wire, or from the partner's socket, which is given another TTL or
 * service where need be. true: `data` is needed until it is sent. */
static bool queue(struct relay *relay, struct flow_slot *slot, const __u8 *data, size_t length, __u8 ttl,
		  __u8 tos)
{
	struct flow_slot *egress = slot->partner;

	slot->wired_out = wires_send(&relay->wires, slot, data, length, ttl, tos);
	if (slot->wired_out) {
		relay->page->reasons[REASON_FORWARDED].packets++;
		relay->page->reasons[REASON_FORWARDED].bytes += length;
		return false;
	}
	if (egress->sent_ttl != ttl || egress->sent_tos != tos) {
		flush(relay, slot);
		relay_socket_mark(egress->socket, slot->target.any.sa_family == AF_INET6, ttl, tos);
		egress->sent_ttl = ttl;
		egress->sent_tos = tos;
	}
	relay_batch_put(&relay->batch, relay->ready++, data, length, &slot->target);
	return true;
}

static enum reason pass_on(struct relay *relay, struct flow_slot *slot, struct relay_packet *packet,
			   enum packet_kind kind)
{
	enum reason reason;

	if (!address_port(&slot->target))
		return REASON_NO_NEXTHOP;
	reason = flow_protect(slot, packet->data, &packet->length, kind == PACKET_RTCP);
	if (reason == REASON_FORWARDED)
		queue(relay, slot, packet->data, packet->length, packet->ttl - 1,
		      outgoing_tos(slot, packet->tos));
	return reason;
}

/* Counted where the leg's RTCP is, whichever port it came by. */
static enum reason carry_control(struct relay *relay, struct flow_slot *slot, struct relay_packet *packet,
				 size_t bytes)
{
	struct flow_slot *way = relay_rtcp_way(slot);
	enum reason reason;

	relay_tell_rtcp(relay, slot, packet);
	if (relay_hear_rtcp(relay, slot, packet)) {
		observe(relay, slot, bytes, packet->tos, NULL);
		return REASON_FORWARDED;
	}
	if (way != slot)
		flush(relay, slot);
	reason = pass_on(relay, way, packet, PACKET_RTCP);
	if (reason == REASON_FORWARDED)
		observe(relay, slot->wanted.demux ? way : slot, bytes, packet->tos, NULL);
	if (way != slot)
		flush(relay, way);
	return reason;
}

/* To its sender as what the other leg sends would come. Who hears its own SSRC takes that for a loop (RFC
 * 3550 §8.2). */
static enum reason echo(struct relay *relay, struct flow_slot *slot, struct relay_packet *packet)
{
	struct flow_slot *way = slot->partner;
	enum reason reason;

	for (unsigned place = RTP_SSRC; place < RTP_SSRC + 4; place++)
		packet->data[place] ^= 0xff;
	flush(relay, slot);
	reason = pass_on(relay, way, packet, PACKET_RTP);
	flush(relay, way);
	return reason;
}

/* A packet that was admitted goes into the stage, or on its way. */
static enum reason carry(struct relay *relay, struct flow_slot *slot, struct relay_packet *packet,
			 size_t bytes, enum packet_kind kind)
{
	struct rtp_packet rtp = packet_read(packet->data, relay->now);
	enum reason reason = REASON_FORWARDED;

	if (kind == PACKET_RTCP)
		return slot->wanted.echo ? REASON_OFF : carry_control(relay, slot, packet, bytes);
	if (slot->wanted.copies[0].port)
		relay_copy(slot, packet);
	if (relay_ends_rtcp(slot))
		rtcp_report_counts(&slot->heard, rtp.sequence);
	if (!slot->stage || !slot->stage->type->ends || slot->wanted.copies[0].port)
		relay->nap.passed = relay->now;
	if (slot->wanted.echo)
		reason = echo(relay, slot, packet);
	else if (slot->stage)
		slot->stage->type->packet(slot->stage->state, packet->data, packet->length, relay->now,
					  &relay->output);
	else
		reason = pass_on(relay, slot, packet, kind);
	if (reason == REASON_FORWARDED)
		observe(relay, slot, bytes, packet->tos, &rtp);
	return reason;
}

/* The whole decision, in the order of the kernel relay. */
static void handle(struct relay *relay, struct flow_slot *slot, struct relay_packet *packet)
{
	enum packet_kind kind = PACKET_RTP;
	enum reason reason = REASON_FORWARDED;
	size_t bytes = packet->length;
	struct relay_source source;

	if (relay_ice_take(relay, slot, packet, &reason)) {
		if (reason != REASON_FORWARDED)
			note_drop(relay, slot, packet, reason);
		return;
	}
	reason = check_datagram(slot, packet);
	if (reason == REASON_FORWARDED)
		reason = relay_check_source(slot, packet, &source);
	if (reason == REASON_FORWARDED && take_dtls(relay, slot, packet, source.unbound))
		return;
	if (reason == REASON_FORWARDED && slot->wanted.held)
		reason = REASON_OFF;
	if (reason == REASON_FORWARDED)
		reason = admit(slot, packet, &source, &kind);
	if (reason == REASON_FORWARDED)
		reason = carry(relay, slot, packet, bytes, kind);
	if (reason != REASON_FORWARDED)
		note_drop(relay, slot, packet, reason);
}

static void begin(struct relay *relay, struct flow_slot *slot)
{
	relay->output = (struct stage_output){.relay = relay, .slot = slot};
	__atomic_store_n(&relay->page->slot, (__u32)(slot - relay->place.slots), __ATOMIC_RELAXED);
}

static void end(struct relay *relay, struct flow_slot *slot)
{
	flush(relay, slot);
	__atomic_store_n(&relay->page->slot, NO_SLOT, __ATOMIC_RELAXED);
}

void relay_socket(struct relay *relay, struct flow_slot *slot)
{
	bool often = relay->now - slot->visited < OFTEN;
	unsigned received = relay_batch_receive(&relay->batch, slot->socket, often ? BATCH : 1);

	relay->now = relay_clock();
	begin(relay, slot);
	slot->visited = relay->now;
	slot->wired_in &= !received;
	for (unsigned i = 0; i < received; i++) {
		struct relay_packet packet = relay_batch_packet(&relay->batch, i);

		if (relay->ready == BATCH)
			flush(relay, slot);
		handle(relay, slot, &packet);
	}
	end(relay, slot);
}

void relay_datagram(struct relay *relay, struct flow_slot *slot, struct relay_packet *packet)
{
	begin(relay, slot);
	slot->wired_in = 1;
	handle(relay, slot, packet);
	end(relay, slot);
}

static void tick_dtls(struct relay *relay, struct flow_slot *slot)
{
	struct flow_crypto *crypto = slot->crypto;
	enum dtls_state before = dtls_state(crypto->dtls);

	if (!address_port(&slot->partner->target))
		return;
	note_dtls(relay, slot, before, dtls_tick(crypto->dtls, relay->now));
	if (!dtls_done(crypto->dtls, relay->now))
		return;
	dtls_destroy(crypto->dtls);
	crypto->dtls = NULL;
}

/* To the peer that the stream goes to, about it and about what that peer sends. */
static void send_report(struct relay *relay, struct flow_slot *stream)
{
	struct flow_slot *way = relay_report_way(stream);
	__u8 *data = relay->batch.made[0];
	size_t length;

	if (!stream->sender.packets)
		return;
	stream->report_due = relay->now + REPORT + relay->now % REPORT;
	if (!way)
		return;
	flush(relay, stream);
	length = relay_write_report(relay, stream, way, data);
	if (!length)
		return;
	queue(relay, way, data, length, OWN_TTL, OWN_TOS);
	flush(relay, way);
}

void relay_tick(struct relay *relay, struct flow_slot *slot)
{
	relay->now = relay_clock();
	begin(relay, slot);
	if (slot->stage && slot->stage->due <= relay->now)
		slot->stage->due = slot->stage->type->tick(slot->stage->state, relay->now, &relay->output);
	if (relay_ends_rtcp(slot) && slot->report_due <= relay->now)
		send_report(relay, slot);
	if (slot->crypto && slot->crypto->dtls)
		tick_dtls(relay, slot);
	if (relay_ice_due(slot) <= relay->now)
		relay_ice_tick(relay, slot);
	end(relay, slot);
}

void relay_send_dtls(struct flow_slot *slot, const __u8 *data, size_t length)
{
	const union socket_address *target = &slot->partner->target;

	if (address_port(target))
		sendto(slot->socket, data, length, MSG_DONTWAIT, &target->any, address_length(target));
}

static bool may_send(const struct flow_slot *slot)
{
	return !slot->wanted.held && address_port(&slot->target);
}

__u8 *stage_room(struct stage_output *output)
{
	struct relay *relay = output->relay;

	if (!may_send(output->slot))
		return NULL;
	if (relay->ready == BATCH || relay->made == BATCH)
		flush(relay, output->slot);
	return relay->batch.made[relay->made];
}

void stage_send(struct stage_output *output, size_t length)
{
	struct relay *relay = output->relay;
	struct flow_slot *slot = output->slot;
	unsigned place = relay->made;
	__u8 *data = relay->batch.made[place], dscp = slot->wanted.dscp;

	if (!may_send(slot) || length > STAGE_PACKET)
		return;
	rtcp_report_sent(&slot->sender, data, length, relay->now);
	if (flow_protect(slot, data, &length, false) != REASON_FORWARDED)
		return;
	if (queue(relay, slot, data, length, OWN_TTL, dscp == DSCP_KEEP ? OWN_TOS : (__u8)(dscp << 2)))
		relay->made = place + 1;
}

int stage_tell(struct stage_output *output, __u32 kind, const void *data, size_t length)
{
	struct engine_event event = {
		.key = output->slot->wanted.local, .type = ENGINE_EVENT_STAGE, .kind = kind};

	if (length > ENGINE_EVENT_BYTES)
		return 0;
	event.length = (__u32)length;
	memcpy(event.data, data, length);
	return worker_page_tell(output->relay->page, &event);
}
