/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The packet as it leaves where its headers stay as long as they are: everything is already looked up,
 * nothing can fail any more.
 */
#ifndef VOXDP_REWRITE_H
#define VOXDP_REWRITE_H

#define DSCP_SHIFT (TOS_SHIFT + 2) /* of WORD_TYPE; ECN is below it */
#define DSCP_BITS  (0x3fU << DSCP_SHIFT)

/* Sets the DSCP where it is another, keeps ECN; returns what that adds to the header's sum. */
static __always_inline __u32 mark(void *frame, __u32 dscp)
{
	__u32 before = WORD_TYPE(frame);
	__u32 change = (before ^ dscp << DSCP_SHIFT) & DSCP_BITS;

	if (likely(!change) || dscp == DSCP_KEEP)
		return 0;
	WORD_TYPE(frame) = before ^ change;
	return ((before ^ change) >> 16) + minus(before >> 16);
}

static __always_inline void rewrite_ip(void *frame, const struct flow_rule *rule)
{
	_Static_assert(__builtin_offsetof(struct flow_rule, target_address) ==
			       __builtin_offsetof(struct flow_rule, egress_address) + 4,
		       "both addresses are one word");

	struct iphdr *ip = ip_of(frame);
	__u32 sum = fold(minus(ip->check) + rule->ip_delta);
	__u32 marked = mark(frame, rule->dscp);

	if (unlikely(marked))
		sum = fold(sum + fold(marked));

	ip->ttl--;
	*(__u64 *)(frame + SOURCE_OFFSET) = *(const __u64 *)(const void *)&rule->egress_address;
	ip->check = ~sum;
}

/*
 * A checksum of 0 says that there is none: it stays, and one that comes out as 0 is sent as 0xffff.
 * `learned_target` is the port that the partner learned, 0: the rule's own counts.
 */
static __always_inline void rewrite_udp(struct udphdr *udp, const struct flow_rule *rule,
					__u32 learned_target)
{
	_Static_assert(__builtin_offsetof(struct flow_rule, target_port) ==
			       __builtin_offsetof(struct flow_rule, egress_port) + 2,
		       "both ports are one word");

	__u32 check = udp->check;
	__u32 sum = fold(minus(check) + rule->udp_delta);
	__u32 ports = *(const __u32 *)(const void *)&rule->egress_port;

	if (unlikely(!rule->source_port))
		sum = fold(sum + minus(udp->source));
	if (unlikely(learned_target)) {
		sum = fold(sum + fold(minus(ports >> 16) + learned_target));
		ports = (ports & 0xffff) | learned_target << 16;
	}
	*(__u32 *)(void *)udp = ports;
	if (check)
		udp->check = minus(sum) ?: 0xffff;
}

static __always_inline void rewrite_macs(void *frame, const struct hop *hop)
{
	*(__u64 *)frame = *(const __u64 *)(const void *)hop;
	*(__u32 *)(frame + 8) = *(const __u32 *)((const void *)hop + 8);
}

static __always_inline void rewrite(void *frame, const struct flow_rule *rule, const struct hop *hop,
				    __u32 learned_target)
{
	rewrite_macs(frame, hop);
	rewrite_ip(frame, rule);
	rewrite_udp(udp_of(frame), rule, learned_target);
}

#endif
