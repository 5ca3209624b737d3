/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From worker to worker: a packet that came by one's wire and is of the other's flow. A queue for each two
 * workers, in memory that they share; one of them writes, one reads, neither waits.
 */
#ifndef VOXDP_HANDOVER_H
#define VOXDP_HANDOVER_H

#include <stdbool.h>

#include "engine.h"
#include "relay_batch.h"

#define HANDOVER_PLACES 64

struct handed {
	struct engine_key local; /* where it was sent to */
	union socket_address source;
	__u32 length;
	__u8 ttl;
	__u8 tos;
	__u8 data[PACKET_BYTES + SRTP_TRAILER];
};

struct handover {
	__u32 head __attribute__((aligned(64))); /* written by the giver */
	__u32 tail __attribute__((aligned(64))); /* by the taker */
	struct handed places[HANDOVER_PLACES];
};

/* The next free place, or NULL: the taker is too slow. handover_give hands it over. */
struct handed *handover_room(struct handover *handover);
void handover_give(struct handover *handover);

/* The oldest that waits, or NULL; the taker's until handover_done. */
struct handed *handover_take(struct handover *handover);
void handover_done(struct handover *handover);

#endif
