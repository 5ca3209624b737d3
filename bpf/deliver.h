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
	struct flow *flow = passage->flow;
	struct rtp_packet rtp;

	rtp = read_rtp(passage->frame + PAYLOAD_OFFSET, passage->now);
	if (unlikely(!rtp_next(&flow->track, &rtp, flow->rule.clock))) {
		struct report report = report_of(passage, EVENT_SSRC, 0);
		struct rtp_packet copy = rtp;

		observe_break(ctx, flow, &report, &copy);
	}
}

static __always_inline void observe(struct xdp_md *ctx, const struct passage *passage, __u8 tos)
{
	__u64 length = payload_length(udp_of(passage->frame));

	flow_observe(&passage->flow->track, length, tos, passage->now);
	if (passage->kind == KIND_RTP) {
		observe_rtp(ctx, passage);
	} else if (passage->control.flags & FLAG_RTCP_COPY) {
		struct source source = sender_of(passage->flow, passage->control);
		struct report report = report_of(passage, EVENT_RTCP, 0);

		emit(ctx, &report, &source, length);
	}
}

/*
 * The rule is read while it is written to the packet, and its control word once more after that: where it
 * changed meanwhile, the packet may be made of two rules, and is dropped.
 */
static __always_inline int deliver(struct xdp_md *ctx, const struct passage *passage, const struct hop *hop)
{
	const struct flow_rule *rule = &passage->flow->rule;
	union control control = passage->control;
	__u8 tos = ip_of(passage->frame)->tos;
	__u32 ifindex = hop->ifindex;

	rewrite(passage->frame, rule, hop, control.flags,
		learned_port(passage->flow->track.target, control.generation));
	barrier();
	if (unlikely(control_of(rule).word != control.word))
		return refuse_passage(ctx, passage, REASON_OFF);
	observe(ctx, passage, tos);
	return forward(ctx, ifindex);
}

#endif
