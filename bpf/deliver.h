/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The end of a packet that passes: counted, told where somebody asked for it, sent. */
#ifndef VOXDP_DELIVER_H
#define VOXDP_DELIVER_H

/* What keeps a flow off the plain express way, and all but recording off any. */
#define CLOSE_FLAGS                                                                                          \
	(FLAG_RTCP | FLAG_ZERO_CHECKSUM | FLAG_MIRROR | FLAG_CAPTURE | FLAG_FULL_CHECKSUM | FLAG_TAGGED |    \
	 FLAG_MOVABLE)
#define FAMILY_FLAGS (FLAG_LOCAL6 | FLAG_TARGET6)

#define PLAIN_RTP 0x80 /* first byte: version 2, no extension, no CSRC; padding is left out of account */
#define MARK_TAG  0x1f /* bits of it that are 0, so that the generation can be told there */

/*
 * What flow_track.express is while RTP of this payload type may go that way: the first two bytes of the
 * packet, in the order of memory, with some of the generation in between. Never 0.
 */
static __always_inline __u16 express_mark(__u32 generation, __u8 type)
{
	return PLAIN_RTP | (generation & MARK_TAG) | type << 8;
}

/* RTP that is not simply the next packet of its stream. */
__noinline int observe_break(struct xdp_md *ctx, const struct passage *passage)
{
	struct report report = {.type = EVENT_SSRC};
	struct flow_ledger *ledger;
	struct flow *flow;

	if (!passage)
		return 0;
	ledger = ledger_at(passage->index);
	flow = flow_at(passage->index);
	report.ssrc = passage->rtp.ssrc;
	if (ledger && flow &&
	    rtp_observe(&flow->track, &ledger->tally, &passage->rtp, flow->rule.clock) == RTP_NEW_SSRC)
		emit(ctx, passage, &report);
	return 0;
}

/* May the packets that follow, if they are like this one, take the express way? */
static __always_inline bool may_express(const struct passage *passage, const struct entry *entry)
{
	const struct flow_ledger *ledger = entry->ledger;
	__u16 flags = passage->control.flags;
	__u8 type = passage->rtp.payload_type;

	if (flags & (CLOSE_FLAGS & ~FLAG_MIRROR) || passage->partial ||
	    passage->control.state == FLOW_LATCHING || entry->flow->track.moved ||
	    !entry->flow->rule.ifindex || is_rtcp_type(type | 0x80))
		return false;
	if (flags & FLAG_PREVIOUS && ledger->tally.settled != passage->control.generation)
		return false;
	return !(flags & FLAG_DTMF) || (type != ledger->wide.dtmf_type && !is_open(&ledger->tally));
}

static __always_inline void observe_rtp(struct xdp_md *ctx, const struct passage *passage,
					const struct entry *entry)
{
	struct flow_track *track = &entry->flow->track;

	if (!rtp_next(track, &passage->rtp, entry->flow->rule.clock))
		observe_break(ctx, passage);
	if (passage->control.flags & FLAG_DTMF)
		observe_dtmf(ctx, passage);
	track->express = may_express(passage, entry)
				 ? express_mark(passage->control.generation, passage->rtp.payload_type)
				 : 0;
	if (passage->control.flags & FLAG_MIRROR)
		mirror_payload(ctx, passage);
}

static __always_inline void observe(struct xdp_md *ctx, const struct passage *passage,
				    const struct entry *entry)
{
	flow_observe(&entry->flow->track, passage->payload, passage->tos, passage->now);
	if (passage->kind == KIND_RTP) {
		observe_rtp(ctx, passage, entry);
	} else if (passage->control.flags & FLAG_RTCP_COPY) {
		struct report report = {.type = EVENT_RTCP, .copied = passage->payload};

		emit(ctx, passage, &report);
	}
}

/*
 * The rule is read while it is written to the packet, and its control word once more after that: where it
 * changed meanwhile, the packet may be made of two rules, and is dropped.
 */
static __always_inline int deliver(struct xdp_md *ctx, struct passage *passage, const struct entry *entry,
				   const struct hop *hop, struct heading *heading)
{
	__u32 ifindex = hop->ifindex;
	enum reason reason = rebuild(ctx, passage, entry, hop, heading);

	if (reason == GO_ON && is_changed(&entry->flow->rule, passage->control))
		reason = REASON_OFF;
	if (reason != GO_ON)
		return refuse(ctx, passage, reason);
	passage->partial = heading->partial;
	observe(ctx, passage, entry);
	if (passage->control.flags & FLAG_CAPTURE)
		capture(ctx, passage, COPY_AFTER);
	return forward(ctx, ifindex, passage->length);
}

#endif
