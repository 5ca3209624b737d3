/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a flow takes in goes to other flows too, for those who listen in. */
#ifndef VOXDP_RELAY_COPIES_H
#define VOXDP_RELAY_COPIES_H

#include "flow_slot.h"
#include "relay_batch.h"

/* RTP, opened, as it is to be before a stage makes something else of it. */
void relay_copy(const struct flow_slot *slot, const struct relay_packet *packet);

#endif
