/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Who may send to a flow: as bpf/source.h has it, one source, or one that is to be learned inside its
 * address, or from anywhere; and for a while the one before it.
 */
#ifndef VOXDP_RELAY_SOURCE_H
#define VOXDP_RELAY_SOURCE_H

#include "flow_slot.h"
#include "packet.h"
#include "relay_batch.h"

struct relay_source {
	bool unbound; /* it is still to be learned, from what is admitted */
	bool former;  /* the one that the flow had before its own, which has not sent anything yet */
};

/* REASON_FORWARDED, or why not; *found with that. */
enum reason relay_check_source(const struct flow_slot *slot, const struct relay_packet *packet,
			       struct relay_source *found);

/* A valid packet of that source came, of the flow's own kind: learns from it. REASON_FORWARDED, or why not.
 */
enum reason relay_bind_source(struct flow_slot *slot, const struct relay_packet *packet,
			      const struct relay_source *found, enum packet_kind kind);

#endif
