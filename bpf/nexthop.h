/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where a packet leaves: what the controller wrote into the rule, else what the kernel's own routes say. */
#ifndef VOXDP_NEXTHOP_H
#define VOXDP_NEXTHOP_H

#define SMALLEST_MTU 1280 /* RFC 8200 5: what every link carries whole */

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
 * the ingress interface. `hop` is left alone where it does not answer.
 */
static __noinline bool route(struct xdp_md *ctx, const struct flow_wide *wide, const __be32 *target,
			     __u16 flags, struct hop *hop)
{
	struct bpf_fib_lookup fib = {.l4_protocol = IPPROTO_UDP, .ifindex = ctx->ingress_ifindex};

	if (flags & FLAG_TARGET6) {
		fib.family = AF_INET6;
		copy_address(fib.ipv6_src, wide->egress_address);
		copy_address(fib.ipv6_dst, target);
	} else {
		fib.family = AF_INET;
		fib.ipv4_src = wide->egress_address[3];
		fib.ipv4_dst = target[3];
	}
	if (bpf_fib_lookup(ctx, &fib, sizeof(fib), 0) != BPF_FIB_LKUP_RET_SUCCESS)
		return false;
	__builtin_memcpy(hop->target_mac, fib.dmac, 6);
	__builtin_memcpy(hop->egress_mac, fib.smac, 6);
	hop->ifindex = fib.ifindex;
	return true;
}

/*
 * Does the egress interface carry an IP packet of that many bytes, where the frame has `length` bytes now?
 * One that is not there refuses later.
 */
static __always_inline bool fits(struct xdp_md *ctx, __u32 ifindex, __u32 bytes, __u32 length)
{
	__u32 mtu = 0;
	__s32 more = (__s32)(ETH_HLEN + bytes) - (__s32)length;

	return bpf_check_mtu(ctx, ifindex, &mtu, more, 0) <= 0;
}

#endif
