/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The express way: RTP without extras, from the expected source, to a flow that forwards by a known next hop,
 * and of a payload type that was found to be allowed. What is not expected is not therefore wrong: `closely`
 * finds out. To take few steps, the headers are read in words of several fields and compared under masks.
 */
#ifndef VOXDP_EXPRESS_H
#define VOXDP_EXPRESS_H

#define TYPE_MASK  bpf_htonl(0xffffff00) /* WORD_TYPE without the TOS */
#define TYPE_PLAIN bpf_htonl(0x08004500) /* IPv4, no options */

#define WORD_PROTO(frame) (*(__u32 *)((frame) + 20)) /* fragment field, TTL, protocol */
#define PROTO_MASK	  bpf_htonl(0x3fff00ff)
#define PROTO_UDP	  bpf_htonl(IPPROTO_UDP) /* not a fragment */
#define TTL_MASK	  bpf_htonl(0x0000fe00)	 /* 0 for TTL 0 and 1 */

#define RTP_MASK 0x7fdf /* of the first two bytes, as memory has them, all but padding and marker */

/* What counts of the upper half of the control word: state, action, and the flags that take the close way. */
#define CLOSELY		(-1) /* no verdict yet */
#define EXPRESS_CONTROL (0xffffU | (__u32)(CLOSE_FLAGS | FAMILY_FLAGS) << 16)

/* What of a packet the express way goes by. */
struct express {
	void *frame;
	struct flow *flow;
	__u64 now;
	union control control;
	__u32 index;
	__u32 length;
	__u32 payload;
	__u8 tos;
};

/* The flow at `index`, which the packet in `ctx` was found to be for. */
static __always_inline struct express enter(const struct xdp_md *ctx, __u32 index, __u64 now)
{
	__u32 length = frame_length(ctx);

	barrier_var(length); /* before the calls: a pointer cut to 32 bits does not outlive one */
	return (struct express){
		.frame = frame_of(ctx),
		.flow = flow_at(index),
		.now = now,
		.index = index,
		.length = length,
	};
}

/* Does the flow forward RTP, with just these special flags, and is this its source port? Its action is 0. */
static __always_inline bool is_sender(const struct flow *flow, union control control, __u32 special,
				      __u32 port)
{
	__u32 kind = control.word >> 32 & EXPRESS_CONTROL;

	_Static_assert(ACTION_FORWARD == 0, "kind is the state and what is special");
	if (likely(kind == (FLOW_PINNED | special << 16)))
		return port == flow->rule.source_port;
	return kind == (FLOW_LEARNING | special << 16) && port &&
	       port == learned_port(flow->track.binding, control.generation);
}

/* Plain RTP of a payload type that went the close way before, and was found good, in this generation? */
static __always_inline bool is_known(const struct express *express, const struct rtp_header *header)
{
	__u32 rtp = *(const __u32 *)(const void *)header;

	return ((rtp & RTP_MASK) ^ (express->control.generation & MARK_TAG)) == express->flow->track.express;
}

static __always_inline bool is_expected(struct express *express, __u32 special)
{
	const struct flow_rule *rule = &express->flow->rule;
	void *frame = express->frame;
	__u32 length = express->length;

	express->control = control_of(rule);
	express->payload = length - PAYLOAD_OFFSET;
	return ip_of(frame)->saddr == rule->source_address &&
	       is_sender(express->flow, express->control, special, udp_of(frame)->source) &&
	       bpf_ntohs(ip_of(frame)->tot_len) + IP_OFFSET == length &&
	       bpf_ntohs(udp_of(frame)->len) + UDP_OFFSET == length &&
	       is_known(express, frame + PAYLOAD_OFFSET);
}

/* Finds the flow of a packet whose headers are as those of nearly every packet are. Reads nothing of it. */
static __always_inline bool find_flow(const struct xdp_md *ctx, struct express *express)
{
	void *frame = express->frame;
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
	express->tos = type >> TOS_SHIFT;
	express->index = slot * FLOWS_PER_ADDRESS + port;
	express->flow = flow_at(express->index);
	return express->flow;
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

/* The passage that the close way would have made of it: for who is to be told, and for what is rare. */
static __noinline void express_break(struct xdp_md *ctx, __u32 index, __u64 now, __u64 word,
				     const struct rtp_packet *rtp)
{
	struct flow_ledger *ledger = ledger_at(index);
	struct flow *flow = flow_at(index);
	struct passage passage = {.now = now, .control.word = word, .rtp = *rtp, .index = index};

	if (!ledger || !flow)
		return;
	copy_address(passage.source, ledger->wide.source_address);
	passage.source_port =
		flow->rule.source_port ?: learned_port(flow->track.binding, passage.control.generation);
	observe_break(ctx, &passage);
}

static __always_inline int express_refuse(struct express *express, enum reason reason)
{
	struct flow_ledger *ledger = ledger_at(express->index);

	if (ledger)
		count_dropped(&ledger->tally, reason);
	return verdict(express->length, reason);
}

static __always_inline bool express_conforms(const struct express *express)
{
	struct flow_ledger *ledger;

	if (!(express->control.flags & FLAG_POLICED))
		return true;
	ledger = ledger_at(express->index);
	return ledger && within_limit(express->flow, ledger, express->now);
}

/* The rewritten packet: is the rule still the same? Then it is counted and sent; see deliver.h. */
static __always_inline int express_forward(struct xdp_md *ctx, struct express *express,
					   const struct rtp_header *header)
{
	struct rtp_packet rtp = read_rtp(header, express->now);
	struct flow *flow = express->flow;
	__u32 ifindex = flow->rule.ifindex;

	if (unlikely(is_changed(&flow->rule, express->control)))
		return express_refuse(express, REASON_OFF);
	flow_observe(&flow->track, express->payload, express->tos, express->now);
	if (unlikely(!rtp_next(&flow->track, &rtp, flow->rule.clock))) {
		struct rtp_packet copy = rtp; /* the first one stays in registers, as it has no address */

		express_break(ctx, express->index, express->now, express->control.word, &copy);
	}
	return forward(ctx, ifindex, express->length);
}

static __always_inline int express_ipv4(struct xdp_md *ctx, struct express *express)
{
	const struct flow *flow = express->flow;

	if (unlikely(!express_conforms(express)))
		return express_refuse(express, REASON_POLICED);
	rewrite(express->frame, &flow->rule, hop_of(&flow->rule),
		learned_port(flow->track.target, express->control.generation));
	return express_forward(ctx, express, express->frame + PAYLOAD_OFFSET);
}

#endif
