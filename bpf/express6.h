/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The same for IPv6 that stays IPv6. Its addresses are in the ledger, one cache line more. */
#ifndef VOXDP_EXPRESS6_H
#define VOXDP_EXPRESS6_H

#define UDP6_OFFSET	   (IP_OFFSET + sizeof(struct ipv6hdr))
#define PAYLOAD6_OFFSET	   (UDP6_OFFSET + sizeof(struct udphdr))
#define RTP6_SHORTEST	   (PAYLOAD6_OFFSET + sizeof(struct rtp_header))
#define TYPE6_MASK	   bpf_htonl(0xfffff000)
#define TYPE6_PLAIN	   bpf_htonl(0x86dd6000)      /* EtherType and IP version */
#define WORD_LENGTH(frame) (*(__u32 *)((frame) + 18)) /* payload length, next header, hop limit */
#define NEXT_MASK	   bpf_htonl(0x0000ff00)
#define NEXT_UDP	   bpf_htonl(IPPROTO_UDP << 8)
#define HOP_MASK	   bpf_htonl(0x000000fe) /* 0 for hop limit 0 and 1 */
#define HOP_STEP	   bpf_htonl(1)
#define DSCP6_SHIFT	   22
#define DSCP6_BITS	   0x0fc00000U

static __always_inline struct ipv6hdr *ip6_of(void *frame)
{
	return frame + IP_OFFSET;
}

static __always_inline struct udphdr *udp6_of(void *frame)
{
	return frame + UDP6_OFFSET;
}

static __always_inline bool find_flow6(const struct xdp_md *ctx, struct express *express)
{
	void *frame = express->frame;
	__u32 slot, port;

	if (!holds(ctx, frame, RTP6_SHORTEST) || (WORD_TYPE(frame) & TYPE6_MASK) != TYPE6_PLAIN)
		return false;
	if ((WORD_LENGTH(frame) & NEXT_MASK) != NEXT_UDP || !(WORD_LENGTH(frame) & HOP_MASK))
		return false;
	slot = address_slot6(ip6_of(frame)->daddr.in6_u.u6_addr32);
	port = bpf_ntohs(udp6_of(frame)->dest);
	if (slot >= RELAY_ADDRESSES || !is_media_port(port))
		return false;
	express->tos = TRAFFIC_CLASS(*(const __be32 *)ip6_of(frame));
	express->index = slot * FLOWS_PER_ADDRESS + port;
	express->flow = flow_at(express->index);
	return express->flow;
}

static __always_inline bool is_expected6(struct express *express, const struct flow_wide *wide, __u32 special)
{
	const struct flow_rule *rule = &express->flow->rule;
	void *frame = express->frame;
	__u32 length = express->length;

	express->control = control_of(rule);
	express->payload = length - PAYLOAD6_OFFSET;
	return same_address(&ip6_of(frame)->saddr, wide->source_address) &&
	       is_sender(express->flow, express->control, special, udp6_of(frame)->source) &&
	       bpf_ntohs(ip6_of(frame)->payload_len) + UDP6_OFFSET == length &&
	       bpf_ntohs(udp6_of(frame)->len) + UDP6_OFFSET == length && udp6_of(frame)->check &&
	       is_known(express, frame + PAYLOAD6_OFFSET);
}

static __always_inline void rewrite_ip6(void *frame, const struct flow_rule *rule,
					const struct flow_wide *wide)
{
	_Static_assert(__builtin_offsetof(struct flow_wide, target_address) ==
			       __builtin_offsetof(struct flow_wide, egress_address) + 16,
		       "both addresses in a row");

	__be32 *first = frame + IP_OFFSET;

	if (rule->dscp != DSCP_KEEP)
		*first = (*first & ~bpf_htonl(DSCP6_BITS)) | bpf_htonl((__u32)rule->dscp << DSCP6_SHIFT);
	WORD_LENGTH(frame) -= HOP_STEP;
	copy_address(&ip6_of(frame)->saddr, wide->egress_address);
	copy_address(&ip6_of(frame)->daddr, wide->target_address);
}

static __always_inline int express_ipv6(struct xdp_md *ctx, struct express *express,
					const struct flow_wide *wide)
{
	const struct flow *flow = express->flow;
	void *frame = express->frame;

	if (unlikely(!express_conforms(express)))
		return express_refuse(express, REASON_POLICED);
	rewrite_macs(frame, hop_of(&flow->rule));
	rewrite_ip6(frame, &flow->rule, wide);
	rewrite_udp(udp6_of(frame), &flow->rule,
		    learned_port(flow->track.target, express->control.generation));
	return express_forward(ctx, express, frame + PAYLOAD6_OFFSET);
}

#endif
