/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "relay_source.h"

#include <string.h>

#include "relay_ice.h"

static bool is_from(const struct relay_packet *packet, const __u8 *wanted, __be16 port)
{
	__u8 address[16];

	address_from_socket(packet->source, address);
	return address_port(packet->source) == port && !memcmp(address, wanted, sizeof(address));
}

static bool is_own(const struct flow_slot *slot, const struct relay_packet *packet)
{
	__be16 bound = flow_bound_port(slot);

	if (!bound && flow_latches(slot))
		return true;
	return is_from(packet, flow_source_address(slot), bound ? bound : address_port(packet->source));
}

enum reason relay_check_source(const struct flow_slot *slot, const struct relay_packet *packet,
			       struct relay_source *found)
{
	*found = (struct relay_source){0};
	if (slot->wanted.ice)
		return relay_ice_source(slot, packet);
	if (is_own(slot, packet)) {
		found->unbound = !flow_bound_port(slot);
		return REASON_FORWARDED;
	}
	if (slot->wanted.follows && flow_latches(slot)) {
		found->unbound = true;
		return REASON_FORWARDED;
	}
	found->former = slot->former.port && is_from(packet, slot->former.address, slot->former.port);
	return found->former ? REASON_FORWARDED : REASON_WRONG_SOURCE;
}

/* Is this the candidate's next packet? RTCP has no numbers that say so. */
static bool is_consistent(const struct flow_candidate *candidate, const struct relay_packet *packet,
			  const struct rtp_packet *rtp, enum packet_kind kind)
{
	__u16 ahead = (__u16)(rtp->sequence - candidate->sequence);

	if (!candidate->count || !is_from(packet, candidate->address, candidate->port))
		return false;
	return kind == PACKET_RTCP || (candidate->ssrc == rtp->ssrc && ahead - 1U < RTP_WINDOW);
}

static enum reason latch(struct flow_slot *slot, const struct relay_packet *packet, enum packet_kind kind)
{
	struct rtp_packet rtp = packet_read(packet->data, 0);
	struct flow_candidate *candidate = &slot->candidate;

	if (!is_consistent(candidate, packet, &rtp, kind)) {
		address_from_socket(packet->source, candidate->address);
		candidate->port = address_port(packet->source);
		candidate->ssrc = rtp.ssrc;
		candidate->count = 0;
	}
	candidate->sequence = rtp.sequence;
	if (++candidate->count < slot->wanted.latch)
		return REASON_UNLATCHED;
	candidate->count = 0;
	memcpy(slot->tally.latch_address, candidate->address, sizeof(slot->tally.latch_address));
	slot->tally.latch_port = candidate->port;
	flow_learn(slot, candidate->port);
	return REASON_FORWARDED;
}

enum reason relay_bind_source(struct flow_slot *slot, const struct relay_packet *packet,
			      const struct relay_source *found, enum packet_kind kind)
{
	bool teaches = kind == PACKET_RTP || slot->wanted.rtcp;
	enum reason reason = REASON_FORWARDED;

	if (found->former)
		return REASON_FORWARDED;
	if (found->unbound && flow_latches(slot))
		reason = teaches ? latch(slot, packet, kind) : REASON_UNLATCHED;
	else if (found->unbound && teaches)
		flow_learn(slot, address_port(packet->source));
	if (reason == REASON_FORWARDED && teaches)
		slot->former.port = 0;
	return reason;
}
