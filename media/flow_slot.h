/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A flow as its worker keeps it, in memory that outlives the worker: statistics, what was learned, keys that
 * DTLS gave. What the worker made of these for itself, behind pointers, it makes anew.
 */
#ifndef VOXDP_FLOW_SLOT_H
#define VOXDP_FLOW_SLOT_H

#include "address.h"
#include "engine.h"
#include "ice.h"
#include "rtcp_report.h"

struct flow_crypto;
struct flow_stage;

struct flow_slot {
	struct flow_track track;
	struct flow_tally tally;
	struct flow_crypto *crypto; /* NULL: plain RTP, in and out */
	struct flow_stage *stage;   /* NULL: packets pass as they are */
	struct ice *ice;	    /* NULL: none, or not told yet what to say */
	struct flow_slot *partner;
	union socket_address target; /* where packets go now; port 0: nowhere */
	int socket;
	__u8 sent_ttl; /* of what last left by the socket, as its options still are; 0: unknown */
	__u8 sent_tos;
	__be16 learned; /* port of `source`, if it was to be learned; its address then: tally.latch_address */
	__u8 security;	/* enum engine_security */
	__u8 wired_in;	/* as in struct engine_report */
	__u8 wired_out;
	__u8 derived; /* open_keys, and the partner's seal_keys, came from DTLS */
	struct flow_former {
		__u8 address[16];
		__be16 port; /* 0: none */
	} former; /* the source before this one, which is heard until this one has sent something valid */
	struct flow_candidate {
		__u8 address[16];
		__u32 ssrc;
		__be16 port;
		__u16 sequence;
		__u8 count; /* of its consistent packets */
	} candidate;	    /* who may become the source of a flow that latches */
	__u64 forged, replayed;
	__u64 visited; /* when the socket was last looked at */
	/* RTCP of the same stream and leg, or of RTCP its RTP: the flow at the port above or below; NULL:
	 * none. */
	struct flow_slot *companion;
	/* Where a stage ends RTCP: what goes out, what is heard, and when we report next. */
	struct rtcp_sender sender;
	struct rtcp_heard heard;
	__u64 report_due;
	__u64 told; /* when RTCP of the leg was told of last */
	struct ice_outcome paired;
	struct engine_flow wanted; /* as it was set */
	struct srtp_keys open_keys, seal_keys;
} __attribute__((aligned(64)));

/* Makes an unused slot a flow, one half of a pair that is set next. */
void flow_open(struct flow_slot *slot, const struct engine_flow *wanted, int socket,
	       struct flow_slot *partner);

/* Sets both flows of a pair anew; a port learned for a source or target that changes is forgotten. */
void flow_change_pair(struct flow_slot *one, const struct engine_flow *wanted_one, struct flow_slot *other,
		      const struct engine_flow *wanted_other);

/* Binds the learning flow to `port` (network order), and the partner's packets to it. */
void flow_learn(struct flow_slot *slot, __be16 port);

/* ICE has selected another pair for the flow's leg, or none: the partner's packets go there. */
void flow_repair(struct flow_slot *slot);

/* Whether the flow takes its source from anywhere. A hello of DTLS proves nothing, and so binds no address.
 */
static inline bool flow_latches(const struct flow_slot *slot)
{
	return slot->wanted.latch && !slot->wanted.dtls.role;
}

/* The address that a flow is bound to, or without meaning while it has still to latch. */
static inline const __u8 *flow_source_address(const struct flow_slot *slot)
{
	return flow_latches(slot) ? slot->tally.latch_address : slot->wanted.source_address;
}

/* The port (network order) that a flow is bound to, or 0 while it has still to learn one. */
__be16 flow_bound_port(const struct flow_slot *slot);

void flow_report(const struct flow_slot *slot, struct engine_report *report);

#endif
