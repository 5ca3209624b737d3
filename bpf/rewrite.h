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

	ip->tos = dscp << DSCP_SHIFT | (before & ECN_BITS);
	return bpf_htons(ip->tos) + minus(bpf_htons(before));
}

static __always_inline void rewrite_ip(struct iphdr *ip, const struct departure *departure)
{
	__u32 sum = minus(ip->check) + departure->change.ip_delta + TTL_STEP;

	if (departure->change.dscp != DSCP_KEEP)
		sum += mark(ip, departure->change.dscp);
	ip->ttl--;
	*(__u64 *)&ip->saddr = departure->addresses;
	ip->check = ~fold(sum);
}

/* A checksum of 0 says that there is none: it stays, and one that comes out as 0 is sent as 0xffff. */
static __always_inline void rewrite_udp(struct udphdr *udp, const struct departure *departure, __u16 flags,
					__be16 target_port)
{
	__u32 sum = minus(udp->check) + departure->change.udp_delta + minus(udp->source);

	udp->source = departure->egress_port;
	udp->dest = departure->change.target_port;
	if (target_port) {
		sum += minus(departure->change.target_port) + target_port;
		udp->dest = target_port;
	}
	if (flags & FLAG_ZERO_CHECKSUM)
		udp->check = 0;
	else if (udp->check)
		udp->check = (__u16)~fold(sum) ?: 0xffff;
}

/* `flags` of the rule; `target_port` is the learned one, 0: the rule's. */
static __always_inline void rewrite(const struct packet *packet, const struct departure *departure,
				    __u16 flags, __be16 target_port)
{
	*(__u64 *)packet->eth = departure->macs_head;
	*((__u32 *)packet->eth + 2) = departure->macs_tail;
	rewrite_ip(packet->ip, departure);
	rewrite_udp(packet->udp, departure, flags, target_port);
}

#endif
