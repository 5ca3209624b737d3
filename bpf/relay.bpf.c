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

/* What is known of a packet when it may leave. */
struct passage {
	union control control;
	struct departure departure;
	bool is_rtcp;
};

static __always_inline struct report report_of(const struct packet *packet, union control control, __u8 type)
{
	return (struct report){
		.now = packet->now,
		.flow = packet->index,
		.generation = control.generation,
		.type = type,
	};
}

/* Source, payload, and where the port is not known yet, learning it from the first payload that may teach. */
static __always_inline enum reason admit(struct xdp_md *ctx, const struct packet *packet, struct flow *flow,
					 struct passage *passage)
{
	union control control = passage->control;
	enum reason reason;
	bool unbound;

	reason = check_source(packet, flow, control, &unbound);
	if (reason != GO_ON)
		return reason;
	reason = check_payload(ctx, packet, control.flags, &passage->is_rtcp);
	if (reason != GO_ON)
		return reason;
	if (unlikely(unbound) && (!passage->is_rtcp || control.flags & FLAG_RTCP)) {
		struct report report = report_of(packet, control, EVENT_LEARNED);

		return learn(ctx, flow, &report, packet->udp->source);
	}
	return GO_ON;
}

/* All decisions about a packet to a flow. The last makes sure that the rule did not change meanwhile. */
static __always_inline enum reason decide(struct xdp_md *ctx, const struct packet *packet, struct flow *flow,
					  struct passage *passage)
{
	enum reason reason;

	reason = check_headers(packet);
	if (reason != GO_ON)
		return reason;
	reason = check_rule(passage->control);
	if (reason != GO_ON)
		return reason;
	reason = admit(ctx, packet, flow, passage);
	if (reason != GO_ON)
		return reason;
	reason = find_departure(ctx, &flow->rule, &passage->departure);
	if (reason != GO_ON)
		return reason;
	if (load64(&flow->rule) != passage->control.word)
		return REASON_OFF;
	return GO_ON;
}

/* What the packet adds to the flow's statistics, and what user space is told about it. */
static __always_inline void observe(struct xdp_md *ctx, const struct packet *packet, struct flow *flow,
				    const struct passage *passage)
{
	struct rtp_packet rtp;

	flow_observe(&flow->track, payload_length(packet), packet->ip->tos, packet->now);
	if (likely(!passage->is_rtcp)) {
		if (read_rtp(packet, &rtp) &&
		    rtp_observe(&flow->track, &flow->tally, &rtp, flow->rule.clock) == RTP_NEW_SSRC) {
			struct report report = report_of(packet, passage->control, EVENT_SSRC);

			report.ssrc = rtp.ssrc;
			emit(ctx, &report, 0);
		}
	} else if (passage->control.flags & FLAG_RTCP_COPY) {
		struct report report = report_of(packet, passage->control, EVENT_RTCP);

		emit(ctx, &report, payload_length(packet));
	}
}

/* The clock is read before the flow: it waits for what was begun earlier, and would wait for the cache miss.
 */
SEC("xdp")
int relay(struct xdp_md *ctx)
{
	struct packet packet = {.cursor = whole_frame(ctx)};
	struct passage passage = {};
	enum reason reason;
	struct flow *flow;

	reason = find_ip(&packet);
	if (reason != GO_ON)
		return verdict(ctx, reason);
	if (*(__u8 *)packet.ip != PLAIN_IPV4)
		return refuse_options(ctx);
	reason = find_port(&packet, 0);
	if (reason != GO_ON)
		return verdict(ctx, reason);

	packet.now = bpf_ktime_get_ns();
	flow = flow_at(packet.index);
	if (!flow)
		return verdict(ctx, REASON_UNKNOWN_PORT);
	passage.control.word = load64(&flow->rule);
	reason = decide(ctx, &packet, flow, &passage);
	if (unlikely(reason != GO_ON)) {
		struct report report = report_of(&packet, passage.control, EVENT_REJECTED);

		report.reason = reason;
		return refuse(ctx, flow, &report);
	}
	observe(ctx, &packet, flow, &passage);
	rewrite(&packet, &passage.departure, passage.control.flags,
		learned_port(flow->track.target, passage.control.generation));
	return forward(ctx, passage.departure.ifindex);
}

const char relay_license[] SEC("license") = "GPL";
