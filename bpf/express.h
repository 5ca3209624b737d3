/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The express way: RTP without extras, from the expected source, to a flow that forwards by a known next hop.
 * What is not expected is not therefore wrong: `closely` finds out. To take few steps, the headers are read
 * in words of several fields and compared under masks.
 */
#ifndef VOXDP_EXPRESS_H
#define VOXDP_EXPRESS_H

/* Ethertype, IP version and header length, TOS. */
#define WORD_TYPE(frame) (*(__u32 *)((frame) + 12))
#define TYPE_MASK	 bpf_htonl(0xffffff00)
#define TYPE_PLAIN	 bpf_htonl(0x08004500)
/* Fragment field, TTL, protocol. */
#define WORD_PROTO(frame) (*(__u32 *)((frame) + 20))
#define PROTO_MASK	  bpf_htonl(0x3fff00ff)
#define PROTO_UDP	  bpf_htonl(IPPROTO_UDP)
#define TTL_MASK	  bpf_htonl(0x0000fe00) /* all but its last bit: 0 for 0 and 1 */
/* The first four bytes of RTP: version and counts, payload type, sequence number. */
#define WORD_RTP(frame) (*(__u32 *)((frame) + PAYLOAD_OFFSET))
#define RTP_MASK	bpf_htonl(0xdf000000) /* all but the padding bit */
#define RTP_PLAIN	bpf_htonl(0x80000000) /* version 2, no extension, no CSRC */
#define RTCP_MASK	bpf_htonl(0x00e00000)
#define RTCP_TYPES	bpf_htonl(0x00c00000) /* what types 192-223 have in common */

/* State, action and the flag that matters, of a flow that forwards RTP: as union control has them. */
#define CONTROL_MASK   (0xffffULL << 32 | (__u64)FLAG_RTCP << 48)
#define CONTROL_PINNED ((__u64)FLOW_PINNED << 32)
#define CONTROL_LEARNT ((__u64)FLOW_LEARNING << 32)

/* The port that may send, 0: not known, or not a flow for the express way. */
static __always_inline __be16 expected_port(const struct flow *flow, union control control)
{
	__u64 kind = control.word & CONTROL_MASK;

	if (likely(kind == CONTROL_PINNED))
		return flow->rule.source_port;
	return kind == CONTROL_LEARNT ? learned_port(flow->track.binding, control.generation) : 0;
}

static __always_inline bool is_expected(const struct xdp_md *ctx, void *frame, const struct flow *flow,
					union control control, __u32 ports)
{
	__u32 total = bpf_ntohs(ip_of(frame)->tot_len);
	__u32 rtp = WORD_RTP(frame);

	return ip_of(frame)->saddr == flow->rule.source_address && (__u16)ports &&
	       (__u16)ports == expected_port(flow, control) &&
	       total == bpf_ntohs(udp_of(frame)->len) + sizeof(struct iphdr) &&
	       total >= RTP_SHORTEST - IP_OFFSET && total + IP_OFFSET <= frame_length(ctx) &&
	       (rtp & RTP_MASK) == RTP_PLAIN && (rtp & RTCP_MASK) != RTCP_TYPES && flow->rule.ifindex;
}

static __always_inline bool is_express(struct xdp_md *ctx, struct passage *passage)
{
	void *frame = passage->frame;
	__u32 slot, ports, proto;

	if (!holds(ctx, frame, RTP_SHORTEST) || (WORD_TYPE(frame) & TYPE_MASK) != TYPE_PLAIN)
		return false;
	proto = WORD_PROTO(frame);
	if ((proto & PROTO_MASK) != PROTO_UDP || !(proto & TTL_MASK))
		return false;
	slot = address_slot(ip_of(frame)->daddr);
	ports = *(__u32 *)(frame + UDP_OFFSET);
	if (slot >= RELAY_ADDRESSES || !is_media_port(bpf_ntohs(ports >> 16)))
		return false;
	passage->index = slot * FLOWS_PER_ADDRESS + bpf_ntohs(ports >> 16);
	passage->flow = bpf_map_lookup_elem(&flows, &passage->index);
	if (!passage->flow)
		return false;
	passage->control = control_of(&passage->flow->rule);
	return is_expected(ctx, frame, passage->flow, passage->control, ports);
}

#endif
