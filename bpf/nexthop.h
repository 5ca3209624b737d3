/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where a packet leaves: what the controller wrote into the rule, else what the kernel's own routes say. */
#ifndef VOXDP_NEXTHOP_H
#define VOXDP_NEXTHOP_H

/*
 * How a packet leaves, taken out of the rule in whole words before the rule is checked for the last time, so
 * that no packet is made of two rules. The words follow each other in the rule as they do in the packet.
 */
struct departure {
	__u64 macs_head; /* target MAC, then the first bytes of the egress MAC */
	__u32 macs_tail;
	__u32 ifindex;
	__u64 addresses; /* egress, target */
	__be16 egress_port;
	union {
		__u64 word;
		struct {
			__be16 target_port;
			__be16 ip_delta;
			__be16 udp_delta;
			__u8 dscp;
		};
	} change;
};

/*
 * Routes and neighbours as an IP forwarder sees them. The kernel answers only where forwarding is enabled on
 * the ingress interface.
 */
static __noinline enum reason route(struct xdp_md *ctx, const struct flow_rule *rule,
				    struct departure *departure)
{
	struct bpf_fib_lookup fib = {
		.family = AF_INET,
		.l4_protocol = IPPROTO_UDP,
		.ifindex = ctx->ingress_ifindex,
		.ipv4_src = rule->egress_address,
		.ipv4_dst = rule->target_address,
	};
	__u8 macs[12];

	if (bpf_fib_lookup(ctx, &fib, sizeof(fib), 0) != BPF_FIB_LKUP_RET_SUCCESS)
		return REASON_NO_NEXTHOP;
	__builtin_memcpy(macs, fib.dmac, 6);
	__builtin_memcpy(macs + 6, fib.smac, 6);
	__builtin_memcpy(&departure->macs_head, macs, 8);
	__builtin_memcpy(&departure->macs_tail, macs + 8, 4);
	departure->ifindex = fib.ifindex;
	return GO_ON;
}

/* A copy goes by reference, so that the hot path's own stays in registers. */
static __always_inline enum reason route_departure(struct xdp_md *ctx, const struct flow_rule *rule,
						   struct departure *departure)
{
	struct departure routed = *departure;
	enum reason reason = route(ctx, rule, &routed);

	*departure = routed;
	return reason;
}

static __always_inline void read_departure(const struct flow_rule *rule, struct departure *departure)
{
	_Static_assert(__builtin_offsetof(struct flow_rule, egress_address) % 8 == 0, "one word");
	_Static_assert(__builtin_offsetof(struct flow_rule, target_port) % 8 == 0, "one word");
	_Static_assert(__builtin_offsetof(struct flow_rule, target_mac) % 8 == 0, "one word");

	departure->addresses = load64(&rule->egress_address);
	departure->change.word = load64(&rule->target_port);
	departure->egress_port = *(const volatile __be16 *)&rule->egress_port;
	departure->macs_head = load64(rule->target_mac);
	departure->macs_tail = *(const volatile __u32 *)(rule->target_mac + 8);
	departure->ifindex = *(const volatile __u32 *)&rule->ifindex;
}

static __always_inline enum reason find_departure(struct xdp_md *ctx, const struct flow_rule *rule,
						  struct departure *departure)
{
	read_departure(rule, departure);
	return likely(departure->ifindex) ? GO_ON : route_departure(ctx, rule, departure);
}

#endif
