/* SPDX-License-Identifier: GPL-3.0-or-later */
/* RTCP of a flow: which way it goes, where it ends, what is told of it, and what is said in its place. */
#ifndef VOXDP_RELAY_RTCP_H
#define VOXDP_RELAY_RTCP_H

#include "flow_stage.h"
#include "relay.h"

/* Whether the flow's stage makes another stream of it, so that RTCP of both sides ends here. */
static inline bool relay_ends_rtcp(const struct flow_slot *slot)
{
	return slot->stage && slot->stage->type->ends;
}

/* Tells the controller how a leg's RTCP begins, now and then. */
void relay_tell_rtcp(struct relay *relay, struct flow_slot *slot, const struct relay_packet *packet);

/* RTCP of a leg whose stream ends in a stage: what it says is kept, and goes no further. */
bool relay_hear_rtcp(struct relay *relay, struct flow_slot *slot, const struct relay_packet *packet);

/*
 * The flow by which RTCP goes on. A leg that has it beside RTP sends it to the RTP port, and is sent it from
 * there, while the other leg has a port of its own for it.
 */
struct flow_slot *relay_rtcp_way(struct flow_slot *slot);

/* The flow by which reports of ours reach whom the stream goes to; NULL: not now. */
struct flow_slot *relay_report_way(struct flow_slot *stream);

/*
 * To the peer that the stream goes to, about it and about what that peer sends, protected as `way` is; told
 * to the controller as what the stream's own leg would say. Its length, 0: there is nothing to say.
 */
size_t relay_write_report(struct relay *relay, struct flow_slot *stream, struct flow_slot *way, __u8 *data);

#endif
