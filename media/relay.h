/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From socket to socket: one batch received, judged and sent. No allocation, lock or wait. */
#ifndef VOXDP_RELAY_H
#define VOXDP_RELAY_H

#include "relay_batch.h"
#include "flow_slot.h"

/* Moves what waits at the flow's socket, at most one batch of it; counts every packet into `reasons`. */
void relay_socket(struct flow_slot *slot, struct relay_batch *batch, struct reason_count *reasons);

#endif
