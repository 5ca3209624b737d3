/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The close way, for whatever is not plain RTP of an expected source: other traffic, fragments, RTCP, first
 * packets, strangers, damage. Each check stands where docs/verdicts.md has it, and gives its reason.
 */
#ifndef VOXDP_CLOSELY_H
#define VOXDP_CLOSELY_H

/* Headers at the places where this frame has them. */
struct headers {
	struct iphdr *ip;
	struct udphdr *udp;
};

static __always_inline enum reason find_ip(const struct xdp_md *ctx, void *frame, struct headers *headers)
{
	if (!holds(ctx, frame, IP_OFFSET + sizeof(struct iphdr)))
		return REASON_PASS_NOT_IP;
	headers->ip = ip_of(frame);
	if (*(__be16 *)(frame + TYPE_OFFSET) != bpf_htons(ETH_P_IP))
		return REASON_PASS_NOT_IP;
	if (headers->ip->version != 4 || headers->ip->ihl < 5)
		return REASON_PASS_NOT_IP;
	return GO_ON;
}

/* Is it UDP to the media range of a relay address? Everything else is passed untouched. */
static __always_inline enum reason find_port(const struct xdp_md *ctx, struct headers *headers, __u32 *index)
{
	__u32 options = (headers->ip->ihl - 5) * 4 & 0x3c;
	__u32 slot;
	__u16 port;

	if (headers->ip->protocol != IPPROTO_UDP)
		return REASON_PASS_NOT_UDP;
	slot = address_slot(headers->ip->daddr);
	if (slot >= RELAY_ADDRESSES)
		return REASON_PASS_NOT_OURS;
	if (headers->ip->frag_off & bpf_htons(IP_FRAGMENTED))
		return REASON_PASS_FRAGMENT;
	headers->udp = (void *)(headers->ip + 1) + options;
	if ((void *)(headers->udp + 1) > (void *)(long)ctx->data_end)
		return REASON_PASS_NOT_OURS;
	port = bpf_ntohs(headers->udp->dest);
	if (!is_media_port(port))
		return REASON_PASS_NOT_OURS;
	*index = slot * FLOWS_PER_ADDRESS + port;
	return GO_ON;
}

/* Source, payload, and where the port is not known yet, learning it from the first payload that may teach. */
static __always_inline enum reason admit(struct xdp_md *ctx, const struct headers *headers,
					 struct passage *passage, enum payload_kind *kind)
{
	union control control = passage->control;
	enum reason reason;
	bool unbound;

	reason = check_source(headers->ip, headers->udp, passage->flow, control, &unbound);
	if (reason != GO_ON)
		return reason;
	if (!holds(ctx, passage->frame, SHORTEST))
		return REASON_SHORT;
	reason = check_payload(ctx, passage->frame, control.flags, kind);
	if (reason != GO_ON)
		return reason;
	if (unbound && (*kind == KIND_RTP || control.flags & FLAG_RTCP)) {
		struct report report = report_of(passage, EVENT_LEARNED, 0);

		return learn(ctx, passage->flow, &report, headers->udp->source);
	}
	return GO_ON;
}

static __always_inline enum reason decide(struct xdp_md *ctx, const struct headers *headers,
					  struct passage *passage, enum payload_kind *kind)
{
	enum reason reason;

	if (headers->ip->ihl != 5)
		return REASON_OPTIONS;
	reason = check_headers(headers->ip, headers->udp, frame_length(ctx));
	if (reason != GO_ON)
		return reason;
	reason = check_rule(passage->control);
	if (reason != GO_ON)
		return reason;
	return admit(ctx, headers, passage, kind);
}

static __always_inline int closely_to_flow(struct xdp_md *ctx, const struct headers *headers,
					   struct passage *passage)
{
	const struct flow_rule *rule = &passage->flow->rule;
	enum payload_kind kind = KIND_RTP;
	struct hop routed = {};
	enum reason reason;

	reason = decide(ctx, headers, passage, &kind);
	if (reason != GO_ON)
		return refuse_passage(ctx, passage, reason);
	passage->payload = payload_length(headers->udp);
	passage->tos = headers->ip->tos;
	if (rule->ifindex)
		return deliver(ctx, passage, hop_of(rule), kind, passage->control.flags);
	if (!route(ctx, rule, &routed))
		return refuse_passage(ctx, passage, REASON_NO_NEXTHOP);
	return deliver(ctx, passage, &routed, kind, passage->control.flags);
}

static __noinline int closely(struct xdp_md *ctx, __u64 now)
{
	struct passage passage = {.now = now, .frame = frame_of(ctx), .length = frame_length(ctx)};
	struct headers headers = {};
	enum reason reason;
	__u32 index = 0;

	reason = find_ip(ctx, passage.frame, &headers);
	if (reason == GO_ON)
		reason = find_port(ctx, &headers, &index);
	if (reason != GO_ON)
		return verdict(ctx, reason);
	passage.index = index;
	passage.flow = flow_at(index);
	if (!passage.flow)
		return verdict(ctx, REASON_UNKNOWN_PORT);
	passage.control = control_of(&passage.flow->rule);
	return closely_to_flow(ctx, &headers, &passage);
}

#endif
