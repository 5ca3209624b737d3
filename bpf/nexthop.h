/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where a packet leaves: what the controller wrote into the rule, else what the kernel's own routes say. */
#ifndef VOXDP_NEXTHOP_H
#define VOXDP_NEXTHOP_H

/* As it stands in the rule: both MACs in the order of the frame, and the egress interface. */
struct hop {
	__u8 target_mac[6];
	__u8 egress_mac[6];
	__u32 ifindex;
};

static __always_inline const struct hop *hop_of(const struct flow_rule *rule)
{
	_Static_assert(__builtin_offsetof(struct flow_rule, target_mac) % 8 == 0, "read in whole words");
	_Static_assert(__builtin_offsetof(struct flow_rule, ifindex) ==
			       __builtin_offsetof(struct flow_rule, target_mac) + 12,
		       "struct hop");

	return (const void *)rule->target_mac;
}

/*
 * Routes and neighbours as an IP forwarder sees them. The kernel answers only where forwarding is enabled on
 * the ingress interface.
 */
static __always_inline bool route(struct xdp_md *ctx, const struct flow_rule *rule, struct hop *hop)
{
	struct bpf_fib_lookup fib = {
		.family = AF_INET,
		.l4_protocol = IPPROTO_UDP,
		.ifindex = ctx->ingress_ifindex,
		.ipv4_src = rule->egress_address,
		.ipv4_dst = rule->target_address,
	};

	if (bpf_fib_lookup(ctx, &fib, sizeof(fib), 0) != BPF_FIB_LKUP_RET_SUCCESS)
		return false;
	__builtin_memcpy(hop->target_mac, fib.dmac, 6);
	__builtin_memcpy(hop->egress_mac, fib.smac, 6);
	hop->ifindex = fib.ifindex;
	return true;
}

#endif
