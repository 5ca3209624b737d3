/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is known of a packet on its way to a flow, and the words that are compared as one. */
#ifndef VOXDP_PASSAGE_H
#define VOXDP_PASSAGE_H

#define GO_ON REASON_FORWARDED

/* generation, state, action and flags of a rule: one word, so that they are of one time. */
union control {
	__u64 word;
	struct {
		__u32 generation;
		__u8 state;
		__u8 action;
		__u16 flags;
	};
};

enum payload_kind {
	KIND_RTP,
	KIND_RTCP,
};

/* Places are bytes from the beginning of the frame, as it is at the time. */
struct passage {
	__u64 now; /* ns, CLOCK_MONOTONIC */
	union control control;
	struct rtp_packet rtp;
	__be32 source[ADDRESS_WORDS];
	__u32 index;	 /* of the flow */
	__u32 length;	 /* of the frame as it came */
	__u32 network;	 /* place of the IP header */
	__u32 transport; /* place of the UDP header */
	__u32 payload;	 /* of the datagram, bytes */
	__u32 body;	 /* of that, RTP header with CSRC list and extension */
	__be16 source_port;
	__u8 tos; /* or traffic class, as it came */
	__u8 ttl; /* or hop limit, as it came */
	__u8 kind;
	bool ipv6;
	bool ours;    /* to a relay address */
	bool former;  /* from the source that the flow had before */
	bool demuxed; /* RTCP that came to the port below the flow's */
	bool partial; /* its UDP checksum was left for a card to complete */
};

/*
 * Both halves of a flow. Apart from the passage: what goes to a function that is verified by itself, comes
 * back without its pointers.
 */
struct entry {
	struct flow *flow;
	struct flow_ledger *ledger;
};

/* Read now, once and as one word: what else is read of the rule stays before it or after it. */
static __always_inline union control control_of(const struct flow_rule *rule)
{
	union control control;

	barrier();
	control.word = *(const volatile __u64 *)(const void *)rule;
	barrier();
	return control;
}

/*
 * Is the rule another than when `control` was read? Flags may change while a flow goes on; and a packet under
 * way when its flow is handed to the engine still leaves by the rule that it found.
 */
static __always_inline bool is_changed(const struct flow_rule *rule, union control control)
{
	_Static_assert(__builtin_offsetof(union control, action) == 5,
		       "action and flags are the upper 24 bits");

	return (control_of(rule).word ^ control.word) << 24;
}

static __always_inline bool same_address(const void *one, const void *other)
{
	const __u64 *left = one, *right = other;

	return left[1] == right[1] && left[0] == right[0];
}

/* ::ffff:a.b.c.d */
static __always_inline void map_address(__be32 mapped[ADDRESS_WORDS], __be32 address)
{
	mapped[0] = 0;
	mapped[1] = 0;
	mapped[2] = bpf_htonl(0xffff);
	mapped[3] = address;
}

static __always_inline void copy_address(void *to, const void *from)
{
	const __u64 *words = from;
	__u64 *into = to;

	into[0] = words[0];
	into[1] = words[1];
}

#endif
