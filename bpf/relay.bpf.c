/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The relay: RTP and RTCP from one side of a call to the other, decided by one look-up, before the host's
 * network stack sees the packet. docs/verdicts.md tells the order of decisions for people.
 *
 * Nothing is written to a packet before everything about it is known, so whatever is passed is untouched.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET	    2
#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#include "flow.h"
#include "rtp_stats.h"
#include "maps.h"
#include "parse.h"
#include "payload.h"
#include "events.h"
#include "source.h"
#include "nexthop.h"
#include "rewrite.h"
#include "verdict.h"

/* generation, state, action and flags of a rule: one word, so that they are of one time. */
union control {
	__u64 word;
	struct {
		__u32 generation;
		__u8 state;
		__u8 action;
		__u16 flags;
	};
};

/* Everything that is known of a packet when it may leave. */
struct passage {
	union control control;
	struct hop hop;
	struct rtp_packet rtp;
	enum payload_kind kind;
};

static __always_inline __u64 read_control(const struct flow_rule *rule)
{
	return *(const volatile __u64 *)rule;
}

static __always_inline enum reason check_rule(union control control)
{
	if (!control.generation)
		return REASON_UNKNOWN_PORT;
	if (control.state == FLOW_OFF)
		return REASON_OFF;
	if (control.action == ACTION_DROP)
		return REASON_BLOCKED;
	if (control.action == ACTION_ENGINE)
		return REASON_PASS_ENGINE;
	return GO_ON;
}

/* Source, payload, and where the port is not known yet, learning it from the first payload that may teach. */
static __always_inline enum reason admit(struct xdp_md *ctx, struct packet *packet, struct flow *flow,
					 struct passage *passage)
{
	union control control = passage->control;
	enum reason reason;
	bool unbound;

	reason = check_source(packet, flow, control.generation, control.state, &unbound);
	if (reason != GO_ON)
		return reason;
	reason = check_payload(ctx, packet, control.flags, &passage->kind, &passage->rtp);
	if (reason != GO_ON)
		return reason;
	if (unlikely(unbound) && (passage->kind == PAYLOAD_RTP || control.flags & FLAG_RTCP)) {
		struct report report = report_of(packet, control.generation, EVENT_LEARNED);

		return learn(ctx, flow, &report);
	}
	return GO_ON;
}

/* All decisions, in their order. The last one makes sure that the rule did not change meanwhile. */
static __always_inline enum reason decide(struct xdp_md *ctx, struct packet *packet, struct flow *flow,
					  struct passage *passage)
{
	enum reason reason;

	reason = check_headers(packet);
	if (reason == GO_ON)
		reason = check_rule(passage->control);
	if (reason == GO_ON)
		reason = admit(ctx, packet, flow, passage);
	if (reason == GO_ON)
		reason = find_hop(ctx, &flow->rule, &passage->hop);
	if (reason == GO_ON && unlikely(read_control(&flow->rule) != passage->control.word))
		reason = REASON_OFF;
	return reason;
}

/* What the packet adds to the flow's statistics, and what user space is told about it. */
static __always_inline void observe(struct xdp_md *ctx, struct packet *packet, struct flow *flow,
				    struct passage *passage)
{
	flow_observe(&flow->track, packet->payload_length, packet->ip->tos, packet->now);
	if (passage->kind == PAYLOAD_RTP) {
		if (rtp_observe(&flow->track, &flow->tally, &passage->rtp, flow->rule.clock) ==
		    RTP_NEW_SSRC) {
			struct report report = report_of(packet, passage->control.generation, EVENT_SSRC);

			report.ssrc = passage->rtp.ssrc;
			emit(ctx, &report, 0);
		}
	} else if (passage->control.flags & FLAG_RTCP_COPY) {
		struct report report = report_of(packet, passage->control.generation, EVENT_RTCP);

		emit(ctx, &report, packet->payload_length);
	}
}

SEC("xdp")
int relay(struct xdp_md *ctx)
{
	struct packet packet = {
		.payload = {(void *)(long)ctx->data, (void *)(long)ctx->data_end},
		.frame_length = ctx->data_end - ctx->data,
	};
	struct passage passage = {};
	struct flow *flow;
	enum reason reason;

	reason = find_port(&packet);
	if (reason != GO_ON)
		return verdict(reason, packet.frame_length);
	packet.now = bpf_ktime_get_ns();
	flow = flow_at(packet.index);
	if (!flow)
		return verdict(REASON_UNKNOWN_PORT, packet.frame_length);
	passage.control.word = read_control(&flow->rule);
	reason = decide(ctx, &packet, flow, &passage);
	if (unlikely(reason != GO_ON)) {
		struct report report = report_of(&packet, passage.control.generation, EVENT_REJECTED);

		report.reason = reason;
		return refuse(ctx, flow, &report, packet.frame_length);
	}
	observe(ctx, &packet, flow, &passage);
	rewrite(&packet, &flow->rule, &passage.hop,
		learned_port(flow->track.target, passage.control.generation));
	return forward(ctx, passage.hop.ifindex, packet.frame_length);
}

const char relay_license[] SEC("license") = "GPL";
