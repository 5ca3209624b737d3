/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A flow as its worker keeps it: the kernel relay's entry and tally, and the socket that is the port. */
#ifndef VOXDP_FLOW_SLOT_H
#define VOXDP_FLOW_SLOT_H

#include <netinet/in.h>
#include <stdbool.h>

#include "engine.h"

struct flow_slot {
	struct flow entry;
	struct flow_tally tally;
	struct sockaddr_in target; /* where packets go now; port 0 or address 0: nowhere */
	struct flow_slot *partner;
	int socket;
	struct engine_flow wanted; /* as it was set */
} __attribute__((aligned(64)));

/* Makes an unused slot a flow. */
void flow_open(struct flow_slot *slot, const struct engine_flow *wanted, int socket,
	       struct flow_slot *partner);

/* Sets both flows of a pair anew; a port learned for a source or target that changes is forgotten. */
void flow_change_pair(struct flow_slot *one, const struct engine_flow *wanted_one, struct flow_slot *other,
		      const struct engine_flow *wanted_other);

/* Binds the learning flow to `port` (network order), and the partner's packets to it. */
void flow_learn(struct flow_slot *slot, __be16 port);

/* The port (network order) that a flow is bound to, or 0 while it has still to learn one. */
__be16 flow_bound_port(const struct flow_slot *slot);

void flow_report(const struct flow_slot *slot, struct engine_report *report);

#endif
