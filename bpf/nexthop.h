/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where a packet leaves: what the controller wrote into the rule, else what the kernel's own routes say. */
#ifndef VOXDP_NEXTHOP_H
#define VOXDP_NEXTHOP_H

/* Both MACs as they stand in the frame, target first, and the egress interface. */
struct hop {
	__u64 macs_head;
	__u32 macs_tail;
	__u32 ifindex;
};

/*
 * Routes and neighbours as an IP forwarder sees them. The kernel answers only where forwarding is enabled on
 * the ingress interface.
 */
static __noinline enum reason route(struct xdp_md *ctx, const struct flow_rule *rule, struct hop *hop)
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
	__builtin_memcpy(&hop->macs_head, macs, 8);
	__builtin_memcpy(&hop->macs_tail, macs + 8, 4);
	hop->ifindex = fib.ifindex;
	return GO_ON;
}

/* target_mac and egress_mac lie side by side and aligned, so two loads take both. */
static __always_inline enum reason find_hop(struct xdp_md *ctx, const struct flow_rule *rule, struct hop *hop)
{
	_Static_assert(__builtin_offsetof(struct flow_rule, target_mac) % 8 == 0, "loaded as one word");

	if (unlikely(!rule->ifindex)) {
		struct hop found;
		enum reason reason = route(ctx, rule, &found);

		*hop = found;
		return reason;
	}
	hop->macs_head = *(const volatile __u64 *)rule->target_mac;
	hop->macs_tail = *(const volatile __u32 *)(rule->target_mac + 8);
	hop->ifindex = rule->ifindex;
	return GO_ON;
}

#endif
