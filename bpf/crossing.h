/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The express way from one family to the other. Only the IP header is made anew; the datagram stays where it
 * is, and its checksum is updated in place. Whatever asks for more than that returns CLOSELY.
 */
#ifndef VOXDP_CROSSING_H
#define VOXDP_CROSSING_H

#define NOT_FRAGMENTED bpf_htonl(0x40000000) /* of WORD_PROTO: the flag that nobody may */
#define GROWTH	       ((int)(sizeof(struct ipv6hdr) - sizeof(struct iphdr)))

/* As is_expected; and an intact header, a checksum, and a size that grows into any MTU. */
static __always_inline bool may_become_ipv6(struct express *express)
{
	const struct flow_rule *rule = &express->flow->rule;
	void *frame = express->frame;
	__u32 length = express->length;

	express->control = control_of(rule);
	express->payload = length - PAYLOAD_OFFSET;
	express->tos = ip_of(frame)->tos;
	return ip_of(frame)->saddr == rule->source_address &&
	       is_sender(express->flow, express->control, FLAG_TARGET6, udp_of(frame)->source) &&
	       bpf_ntohs(ip_of(frame)->tot_len) + IP_OFFSET == length &&
	       bpf_ntohs(udp_of(frame)->len) + UDP_OFFSET == length && udp_of(frame)->check &&
	       length <= SMALLEST_MTU - GROWTH && is_known(express, frame + PAYLOAD_OFFSET) &&
	       ipv4_sum(ip_of(frame)) == 0xffff;
}

static __always_inline void write_crossing6(void *frame, const struct express *express,
					    const struct flow_wide *wide, __u32 hops)
{
	const struct flow_rule *rule = &express->flow->rule;
	__u32 tos = marked_tos(rule, express->tos);

	rewrite_macs(frame, hop_of(rule));
	WORD_TYPE(frame) = bpf_htonl(ETH_P_IPV6 << 16 | IPV6_VERSION >> 16 | tos << 4);
	*(__u32 *)(frame + TYPE_OFFSET + 4) = bpf_htonl(express->payload + sizeof(struct udphdr));
	*(__be16 *)(frame + IP_OFFSET + 6) = bpf_htons(IPPROTO_UDP << 8 | hops);
	copy_address(&ip6_of(frame)->saddr, wide->egress_address);
	copy_address(&ip6_of(frame)->daddr, wide->target_address);
}

static __noinline int cross_to6(struct xdp_md *ctx, __u32 index, __u64 now)
{
	struct express express = enter(ctx, index, now);
	const struct flow_ledger *ledger = ledger_at(index);
	void *frame = express.frame;
	__u32 hops;

	if (!ledger || !express.flow || !holds(ctx, frame, RTP_SHORTEST) || !may_become_ipv6(&express))
		return CLOSELY;
	if (unlikely(!express_conforms(&express)))
		return express_refuse(&express, REASON_POLICED);
	hops = ip_of(frame)->ttl - 1;
	if (bpf_xdp_adjust_head(ctx, -GROWTH))
		return CLOSELY;
	frame = frame_of(ctx);
	if (!holds(ctx, frame, RTP6_SHORTEST))
		return verdict(express.length, REASON_SHORT);
	write_crossing6(frame, &express, &ledger->wide, hops);
	rewrite_udp(udp6_of(frame), &express.flow->rule,
		    learned_port(express.flow->track.target, express.control.generation));
	return express_forward(ctx, &express, frame + PAYLOAD6_OFFSET);
}

static __always_inline void write_crossing4(void *frame, const struct express *express, __u32 hops)
{
	const struct flow_rule *rule = &express->flow->rule;
	__u32 type = bpf_htonl(ETH_P_IP << 16 | IPV4_PLAIN << 8 | marked_tos(rule, express->tos));
	__u32 length = bpf_htonl((express->payload + sizeof(struct iphdr) + sizeof(struct udphdr)) << 16);
	__u32 life = NOT_FRAGMENTED | bpf_htonl(hops << 8 | IPPROTO_UDP);

	rewrite_macs(frame, hop_of(rule));
	WORD_TYPE(frame) = type;
	*(__u32 *)(frame + TYPE_OFFSET + 4) = length;
	WORD_PROTO(frame) = life;
	*(__u64 *)(frame + SOURCE_OFFSET) = *(const __u64 *)(const void *)&rule->egress_address;
	ip_of(frame)->check = minus(
		fold_all((__u64)(type >> 16) + length + life + rule->egress_address + rule->target_address));
}

static __noinline int cross_to4(struct xdp_md *ctx, __u32 index, __u64 now)
{
	struct express express = enter(ctx, index, now);
	const struct flow_ledger *ledger = ledger_at(index);
	void *frame = express.frame;
	__u32 hops;

	if (!ledger || !express.flow || !holds(ctx, frame, RTP6_SHORTEST) ||
	    !is_expected6(&express, &ledger->wide, FLAG_LOCAL6))
		return CLOSELY;
	express.tos = TRAFFIC_CLASS(*(const __be32 *)ip6_of(frame));
	if (unlikely(!express_conforms(&express)))
		return express_refuse(&express, REASON_POLICED);
	hops = ip6_of(frame)->hop_limit - 1;
	if (bpf_xdp_adjust_head(ctx, GROWTH))
		return CLOSELY;
	frame = frame_of(ctx);
	if (!holds(ctx, frame, RTP_SHORTEST))
		return verdict(express.length, REASON_SHORT);
	write_crossing4(frame, &express, hops);
	rewrite_udp(udp_of(frame), &express.flow->rule,
		    learned_port(express.flow->track.target, express.control.generation));
	return express_forward(ctx, &express, frame + PAYLOAD_OFFSET);
}

/* What is not IPv4 as find_flow knows it; CLOSELY where it is no such IPv6 either, and `now` is set. */
static __noinline int express6(struct xdp_md *ctx, __u64 *now)
{
	struct express express = {.frame = frame_of(ctx), .length = frame_length(ctx)};
	struct flow_ledger *ledger = NULL;

	if (likely(find_flow6(ctx, &express)))
		ledger = ledger_at(express.index);
	if (ledger) {
		touch(express.flow);
		*(volatile __u8 *)&ledger->wide.touch = 0;
	}
	express.now = bpf_ktime_get_ns();
	if (likely(ledger && is_expected6(&express, &ledger->wide, FAMILY_FLAGS)))
		return express_ipv6(ctx, &express, &ledger->wide);
	*now = express.now;
	if (ledger && !(express.control.flags & FLAG_TARGET6))
		return cross_to4(ctx, express.index, express.now);
	return CLOSELY;
}

#endif
