/* SPDX-License-Identifier: GPL-3.0-or-later */
/* ICE on a flow's way: checks are taken out of what comes, and media is held to the pair that they select. */
#ifndef VOXDP_RELAY_ICE_H
#define VOXDP_RELAY_ICE_H

#include "relay.h"

/* Makes the flow's agent what `wanted` says; ICE_OFF: none. 0 or an errno. */
int relay_ice_set(struct relay *relay, struct flow_slot *slot, const struct engine_ice *wanted);

/* Wipes and frees it. */
void relay_ice_drop(struct flow_slot *slot);

/* Was the datagram STUN, and so is done with? *reason: REASON_FORWARDED, or why it was not believed. */
bool relay_ice_take(struct relay *relay, struct flow_slot *slot, const struct relay_packet *packet,
		    enum reason *reason);

/* May media come from there? */
enum reason relay_ice_source(const struct flow_slot *slot, const struct relay_packet *packet);

void relay_ice_tick(struct relay *relay, struct flow_slot *slot);

/* ns of CLOCK_MONOTONIC when the flow's agent has something to do; ~0: it has none. */
__u64 relay_ice_due(const struct flow_slot *slot);

#endif
