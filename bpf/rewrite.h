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
	__u16 *word = (__u16 *)ip;
	__u32 change = minus(*word);

	ip->tos = dscp << DSCP_SHIFT | (ip->tos & ECN_BITS);
	return change + *word;
}

static __always_inline void rewrite_ip(struct iphdr *ip, const struct flow_rule *rule)
{
	__u32 sum = minus(ip->check) + rule->ip_delta + TTL_STEP;

	if (rule->dscp != DSCP_KEEP)
		sum += mark(ip, rule->dscp);
	ip->ttl--;
	ip->saddr = rule->egress_address;
	ip->daddr = rule->target_address;
	ip->check = ~fold(sum);
}

/* A checksum of 0 says that there is none: it stays, and one that comes out as 0 is sent as 0xffff. */
static __always_inline void rewrite_udp(struct udphdr *udp, const struct flow_rule *rule, __be16 target_port)
{
	__u32 sum = minus(udp->check) + rule->udp_delta + minus(udp->source);

	udp->source = rule->egress_port;
	udp->dest = rule->target_port;
	if (target_port) {
		sum += minus(rule->target_port) + target_port;
		udp->dest = target_port;
	}
	if (rule->flags & FLAG_ZERO_CHECKSUM)
		udp->check = 0;
	else if (udp->check)
		udp->check = (__u16)~fold(sum) ?: 0xffff;
}

/* `target_port` is the learned one, 0: the rule's. */
static __always_inline void rewrite(const struct packet *packet, const struct flow_rule *rule,
				    const struct hop *hop, __be16 target_port)
{
	*(__u64 *)packet->eth = hop->macs_head;
	*((__u32 *)packet->eth + 2) = hop->macs_tail;
	rewrite_ip(packet->ip, rule);
	rewrite_udp(packet->udp, rule, target_port);
}

#endif
