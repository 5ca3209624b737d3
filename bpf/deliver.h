/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The end of a packet that may pass: rewritten, counted, sent. */
#ifndef VOXDP_DELIVER_H
#define VOXDP_DELIVER_H

/* RTP that is not simply the next packet of its stream. */
static __noinline int observe_break(struct xdp_md *ctx, struct flow *flow, struct report *report,
				    const struct rtp_packet *rtp)
{
	struct flow_tally *tally = tally_at(report->flow);
	struct source source;

	if (!tally || rtp_observe(&flow->track, tally, rtp, flow->rule.clock) != RTP_NEW_SSRC)
		return 0;
	report->ssrc = rtp->ssrc;
	source = sender_of(flow, control_of(&flow->rule));
	emit(ctx, report, &source, 0);
	return 0;
}

static __always_inline void observe_rtp(struct xdp_md *ctx, const struct passage *passage)
{
	struct rtp_packet rtp = read_rtp(passage->frame + PAYLOAD_OFFSET, passage->now);
	struct flow *flow = passage->flow;

	if (unlikely(!rtp_next(&flow->track, &rtp, flow->rule.clock))) {
		struct report report = report_of(passage, EVENT_SSRC, 0);
		struct rtp_packet copy = rtp; /* the first one stays in registers, as it has no address */

		observe_break(ctx, flow, &report, &copy);
	}
}

static __always_inline void observe(struct xdp_md *ctx, const struct passage *passage, enum payload_kind kind,
				    __u16 flags)
{
	flow_observe(&passage->flow->track, passage->payload, passage->tos, passage->now);
	if (kind == KIND_RTP) {
		observe_rtp(ctx, passage);
	} else if (flags & FLAG_RTCP_COPY) {
		struct source source = sender_of(passage->flow, passage->control);
		struct report report = report_of(passage, EVENT_RTCP, 0);

		emit(ctx, &report, &source, passage->payload);
	}
}

/*
 * The rule is read while it is written to the packet, and its control word once more after that: where it
 * changed meanwhile, the packet may be made of two rules, and is dropped. `flags` are those of the control
 * word, or constants where the caller knows them.
 */
static __always_inline int deliver(struct xdp_md *ctx, const struct passage *passage, const struct hop *hop,
				   enum payload_kind kind, __u16 flags)
{
	const struct flow *flow = passage->flow;
	union control control = passage->control;
	__u32 ifindex = hop->ifindex;

	rewrite(passage->frame, &flow->rule, hop, flags & FLAG_ZERO_CHECKSUM,
		learned_port(flow->track.target, control.generation));
	if (unlikely(control_of(&flow->rule).word != control.word))
		return refuse_passage(ctx, passage, REASON_OFF);
	observe(ctx, passage, kind, flags);
	return forward(ctx, ifindex, passage->length);
}

#endif
