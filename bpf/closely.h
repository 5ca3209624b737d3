/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The close way, for whatever is not plain RTP of an expected source: other traffic, fragments, RTCP, first
 * packets, strangers, damage, and flows that ask for more. Each check stands where docs/verdicts.md has it,
 * and gives its reason.
 */
#ifndef VOXDP_CLOSELY_H
#define VOXDP_CLOSELY_H

/* RTP, or on a flow for RTCP that, tells who sends; RTCP beside RTP does not. */
static __always_inline bool teaches(const struct passage *passage)
{
	return passage->kind == KIND_RTP || passage->control.flags & FLAG_RTCP;
}

/* Source, payload, and where the source is not known yet, learning it from the first that may teach. */
static __always_inline enum reason admit(struct xdp_md *ctx, struct passage *passage,
					 const struct entry *entry)
{
	enum reason reason;
	bool unbound;

	reason = check_source(passage, entry, &unbound);
	if (reason != GO_ON)
		return reason;
	reason = check_payload(ctx, passage, &entry->ledger->wide);
	if (reason != GO_ON)
		return reason;
	if (passage->former)
		return GO_ON;
	if (unlikely(unbound && passage->control.state == FLOW_LATCHING))
		reason = teaches(passage) ? latch(ctx, passage) : REASON_UNLATCHED;
	else if (unlikely(unbound && teaches(passage)))
		reason = learn(ctx, passage);
	if (reason == GO_ON && passage->control.flags & FLAG_PREVIOUS && teaches(passage))
		entry->ledger->tally.settled = passage->control.generation;
	return reason;
}

/* Only the engine can tell whose check it is; but not more of one source than the host is to get of
 * strangers. */
static __always_inline enum reason admit_check(const struct passage *passage)
{
	return config.unmatched_interval ? police_unmatched(passage, REASON_PASS_ENGINE) : REASON_PASS_ENGINE;
}

static __always_inline enum reason police(const struct passage *passage, const struct entry *entry)
{
	if (!(passage->control.flags & FLAG_POLICED) ||
	    within_limit(entry->flow, entry->ledger, passage->now))
		return GO_ON;
	return REASON_POLICED;
}

static __always_inline enum reason decide(struct xdp_md *ctx, struct passage *passage,
					  const struct entry *entry)
{
	enum reason reason;

	reason = check_headers(ctx, passage);
	if (reason != GO_ON)
		return reason;
	reason = check_rule(passage->control);
	if (unlikely(entry->ledger->wide.stun) && (reason == GO_ON || reason == REASON_BLOCKED) &&
	    is_stun(ctx, passage))
		return admit_check(passage);
	if (reason != GO_ON)
		return reason;
	reason = admit(ctx, passage, entry);
	return reason != GO_ON ? reason : police(passage, entry);
}

/* The rule's next hop; the kernel's, where the rule has none or is for another target. */
static __always_inline bool find_hop(struct xdp_md *ctx, const struct passage *passage,
				     const struct entry *entry, const struct heading *heading,
				     struct hop *hop)
{
	const struct flow_wide *wide = &entry->ledger->wide;

	__builtin_memcpy(hop, hop_of(&entry->flow->rule), sizeof(*hop));
	if (likely(hop->ifindex && heading->target == wide->target_address))
		return true;
	return route(ctx, wide, heading->target, passage->control.flags, hop) || hop->ifindex;
}

static __always_inline int closely_to_flow(struct xdp_md *ctx, struct passage *passage,
					   const struct entry *entry)
{
	struct heading heading = {};
	enum reason reason;
	struct hop hop;

	if (unlikely(passage->control.flags & FLAG_CAPTURE))
		capture(ctx, passage, COPY_BEFORE);
	reason = decide(ctx, passage, entry);
	if (reason == REASON_PASS_ENGINE)
		return hand_up(ctx, passage, entry->ledger->wide.seat);
	if (reason != GO_ON)
		return refuse(ctx, passage, reason);
	aim(passage, entry, &heading);
	if (!find_hop(ctx, passage, entry, &heading, &hop))
		return refuse(ctx, passage, REASON_NO_NEXTHOP);
	return deliver(ctx, passage, entry, &hop, &heading);
}

/* Both halves of the flow at `index`. */
static __always_inline bool find_entry(__u32 index, struct entry *entry)
{
	entry->flow = flow_at(index);
	entry->ledger = ledger_at(index);
	return entry->flow && entry->ledger;
}

/* RTCP that comes beside RTP (RFC 5761), for a peer that has a port of its own for it? */
static __always_inline bool is_demuxed(struct xdp_md *ctx, const struct passage *passage,
				       const struct entry *entry)
{
	const struct rtcp_header *header;
	void *transport;

	if (likely(!(passage->control.flags & FLAG_RTCP_MUX) || !entry->ledger->wide.demux))
		return false;
	transport = transport_of(ctx, passage, sizeof(struct udphdr) + sizeof(*header));
	header = transport + sizeof(struct udphdr);
	return transport && header->first >> 6 == RTP_VERSION && is_rtcp_type(header->type);
}

static __noinline int closely(struct xdp_md *ctx, __u64 now)
{
	struct passage passage = {.now = now, .length = frame_length(ctx)};
	struct entry entry;
	enum reason reason;

	reason = locate(ctx, &passage);
	if (reason != GO_ON)
		return verdict(passage.length, unmatched(&passage, reason));
	if (!find_entry(passage.index, &entry))
		return verdict(passage.length, REASON_UNKNOWN_PORT);
	passage.control = control_of(&entry.flow->rule);
	if (unlikely(is_demuxed(ctx, &passage, &entry))) {
		passage.demuxed = true;
		if (!find_entry(++passage.index, &entry))
			return verdict(passage.length, REASON_UNKNOWN_PORT);
		passage.control = control_of(&entry.flow->rule);
	}
	return closely_to_flow(ctx, &passage, &entry);
}

#endif
