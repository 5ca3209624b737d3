/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The packet as it leaves: everything here is already looked up, nothing can fail any more. */
#ifndef VOXDP_REWRITE_H
#define VOXDP_REWRITE_H

#define TTL_STEP   bpf_htons(0xfeff) /* minus 0x0100 in ones' complement: TTL is the upper byte of its word */
#define DSCP_SHIFT 2
#define ECN_BITS   0x03

/* Ones' complement arithmetic: RFC 1624 equation 3, on words in network order. */
static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static __always_inline __u32 minus(__u16 word)
{
	return (__u16)~word;
}

/* Sets the DSCP, keeps ECN; returns what that adds to the header's sum. */
static __always_inline __u32 mark(struct iphdr *ip, __u8 dscp)
{
	__u8 before = ip->tos;
	__u8 after = dscp << DSCP_SHIFT | (before & ECN_BITS);

	ip->tos = after;
	return bpf_htons(after) + minus(bpf_htons(before));
}

static __always_inline void rewrite_ip(struct iphdr *ip, const struct flow_rule *rule)
{
	__u32 sum = minus(ip->check) + rule->ip_delta + TTL_STEP;

	if (rule->dscp != DSCP_KEEP)
		sum += mark(ip, rule->dscp);
	ip->ttl--;
	*(__u64 *)&ip->saddr = *(const __u64 *)(const void *)&rule->egress_address;
	ip->check = ~fold(sum);
}

/* A checksum of 0 says that there is none: it stays, and one that comes out as 0 is sent as 0xffff. */
static __always_inline void rewrite_udp(struct udphdr *udp, const struct flow_rule *rule, __u16 flags,
					__be16 learned_target)
{
	__u32 sum = minus(udp->check) + rule->udp_delta + minus(udp->source);
	__be16 target = rule->target_port;

	if (unlikely(learned_target)) {
		sum += minus(target) + learned_target;
		target = learned_target;
	}
	udp->source = rule->egress_port;
	udp->dest = target;
	if (unlikely(flags & FLAG_ZERO_CHECKSUM))
		udp->check = 0;
	else if (udp->check)
		udp->check = (__u16)~fold(sum) ?: 0xffff;
}

/* `flags` of the rule; `learned_target` is the port that the partner learned, 0: the rule's own counts. */
static __always_inline void rewrite(void *frame, const struct flow_rule *rule, const struct hop *hop,
				    __u16 flags, __be16 learned_target)
{
	_Static_assert(__builtin_offsetof(struct flow_rule, egress_address) % 8 == 0, "read as one word");

	*(__u64 *)frame = *(const __u64 *)(const void *)hop;
	*(__u32 *)(frame + 8) = *(const __u32 *)((const void *)hop + 8);
	rewrite_ip(ip_of(frame), rule);
	rewrite_udp(udp_of(frame), rule, flags, learned_target);
}

#endif
