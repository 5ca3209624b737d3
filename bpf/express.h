/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The express way: RTP without extras, from the expected source, to a flow that forwards by a known next hop.
 * What is not expected is not therefore wrong: `closely` finds out. To take few steps, the headers are read
 * in words of several fields and compared under masks.
 */
#ifndef VOXDP_EXPRESS_H
#define VOXDP_EXPRESS_H

#define TYPE_MASK  bpf_htonl(0xffffff00) /* WORD_TYPE without the TOS */
#define TYPE_PLAIN bpf_htonl(0x08004500) /* IPv4, no options */

#define WORD_PROTO(frame) (*(__u32 *)((frame) + 20)) /* fragment field, TTL, protocol */
#define PROTO_MASK	  bpf_htonl(0x3fff00ff)
#define PROTO_UDP	  bpf_htonl(IPPROTO_UDP) /* not a fragment */
#define TTL_MASK	  bpf_htonl(0x0000fe00)	 /* 0 for TTL 0 and 1 */

#define WORD_RTP(frame)                                                                                      \
	(*(__u32 *)((frame) + PAYLOAD_OFFSET)) /* version and counts, type, sequence number                  \
						*/
#define RTP_MASK   bpf_htonl(0xdf000000)       /* all of the first byte but padding */
#define RTP_PLAIN  bpf_htonl(0x80000000)       /* version 2, no extension, no CSRC */
#define RTCP_MASK  bpf_htonl(0x00e00000)
#define RTCP_TYPES bpf_htonl(0x00c00000) /* what the types 192-223 have in common */

/* What counts of the upper half of the control word: state, action, and the flags that take the close way. */
#define CLOSE_FLAGS	(FLAG_RTCP | FLAG_ZERO_CHECKSUM)
#define EXPRESS_CONTROL (0xffffU | (__u32)CLOSE_FLAGS << 16)
#define EXPRESS_FLAGS	0 /* of these, a flow of the express way has none */

/* Does the flow forward RTP, and is this its source port? Its action is 0, as ACTION_FORWARD is. */
static __always_inline bool is_sender(const struct flow *flow, union control control, __u32 port)
{
	__u32 kind = control.word >> 32 & EXPRESS_CONTROL;

	_Static_assert(ACTION_FORWARD == 0, "kind is the state alone");
	if (likely(kind == FLOW_PINNED))
		return port == flow->rule.source_port;
	return kind == FLOW_LEARNING && port && port == learned_port(flow->track.binding, control.generation);
}

static __always_inline bool is_expected(struct passage *passage)
{
	const struct flow_rule *rule = &passage->flow->rule;
	void *frame = passage->frame;
	__u32 length = passage->length;
	__u32 rtp = WORD_RTP(frame);

	passage->control = control_of(rule);
	passage->payload = length - PAYLOAD_OFFSET;
	return ip_of(frame)->saddr == rule->source_address &&
	       is_sender(passage->flow, passage->control, udp_of(frame)->source) &&
	       bpf_ntohs(ip_of(frame)->tot_len) + IP_OFFSET == length &&
	       bpf_ntohs(udp_of(frame)->len) + UDP_OFFSET == length && (rtp & RTP_MASK) == RTP_PLAIN &&
	       (rtp & RTCP_MASK) != RTCP_TYPES && rule->ifindex;
}

/* Finds the flow of a packet whose headers are as those of nearly every packet are. Reads nothing of it. */
static __always_inline bool find_flow(const struct xdp_md *ctx, struct passage *passage)
{
	void *frame = passage->frame;
	__u32 type, proto, slot, port;

	if (!holds(ctx, frame, RTP_SHORTEST))
		return false;
	type = WORD_TYPE(frame);
	proto = WORD_PROTO(frame);
	if ((type & TYPE_MASK) != TYPE_PLAIN || (proto & PROTO_MASK) != PROTO_UDP || !(proto & TTL_MASK))
		return false;
	slot = address_slot(ip_of(frame)->daddr);
	port = bpf_ntohs(udp_of(frame)->dest);
	if (slot >= RELAY_ADDRESSES || !is_media_port(port))
		return false;
	passage->tos = type >> TOS_SHIFT;
	passage->index = slot * FLOWS_PER_ADDRESS + port;
	passage->flow = flow_at(passage->index);
	return passage->flow;
}

/*
 * Has both lines of the flow fetched while the clock is read, which takes some 30 ns. The processor waits for
 * a load before it reads the clock, but not for a store. With 50,000 flows few are in its cache.
 */
static __always_inline void touch(struct flow *flow)
{
	*(volatile __u8 *)&flow->rule.touch = 0;
	*(volatile __u8 *)&flow->track.touch = 0;
}

#endif
