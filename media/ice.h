/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * An ICE agent for one component of one stream (RFC 8445), whose one candidate is the flow's own socket: so a
 * pair is a remote address. Lite answers checks and takes the pair that the peer nominates; full checks the
 * peer's candidates as well, nominates where it leads, and ceases without consent (RFC 7675). Nothing but an
 * authentic check makes an address one that media may come from or go to. The time is an argument.
 */
#ifndef VOXDP_ICE_H
#define VOXDP_ICE_H

#include <stdbool.h>

#include "address.h"
#include "engine.h"

/* What came of it so far; kept by the caller, for it outlives the agent. */
struct ice_outcome {
	__u8 state;	  /* enum engine_ice_state */
	__u8 address[16]; /* the selected pair's remote end */
	__be16 port;	  /* 0: no pair is selected */
	__u64 checks, refused;
};

typedef void (*ice_send)(void *where, const __u8 *data, size_t length, const union socket_address *target);

struct ice;

/* An agent that goes on from `outcome`, at first all zero. `now` is ns. NULL: no memory. */
struct ice *ice_create(const struct engine_ice *wanted, struct ice_outcome *outcome, ice_send send,
		       void *where, __u64 now);

void ice_destroy(struct ice *ice);

/* More candidates, or with other credentials a restart. */
void ice_change(struct ice *ice, const struct engine_ice *wanted, __u64 now);

/* A datagram that is STUN by its first bytes. False: it was not believed. */
bool ice_receive(struct ice *ice, const __u8 *data, size_t length, const union socket_address *source,
		 __u64 now);

/* Whether an authentic check made the address one to hear before a pair is selected (RFC 8445 §12.2). */
bool ice_hears(struct ice *ice, const union socket_address *source);

/* Does what is due. Call it again when ice_due says. */
void ice_tick(struct ice *ice, __u64 now);

__u64 ice_due(const struct ice *ice);

#endif
