/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What comes to a worker by wires, its own or another worker's: each packet to its flow, or to the worker
 * that the flow is of.
 */
#ifndef VOXDP_INTAKE_H
#define VOXDP_INTAKE_H

#include "handover.h"
#include "ports.h"
#include "relay.h"

/* What the workers of an engine share to give each other packets. */
struct exchange {
	unsigned workers;
	struct ports *ports;
	struct handover *handovers; /* [giver * workers + taker] */
	struct worker_page *pages;
	int bells[ENGINE_WORKERS]; /* eventfds that wake a worker */
};

struct intake {
	const struct exchange *exchange;
	unsigned number; /* of this worker */
	struct relay *relay;
	struct flow_slot *slots;
	__u64 called; /* bit n: worker n was given packets, and is to be woken */
};

/* Moves what waits at a wire, at most one batch of it. Returns how many packets. */
unsigned intake_wire(struct intake *intake, struct wire *wire);

/* Moves what other workers have handed over. Returns how many packets. */
unsigned intake_handed(struct intake *intake);

/* To be called before waiting; false: something was handed over meanwhile, there is nothing to wait for. */
bool intake_sleep(struct intake *intake);

/* To be called after waiting. rung: the worker's bell can be read. */
void intake_awake(struct intake *intake, bool rung);

/* Wakes any worker, if it sleeps. */
void intake_ring(const struct exchange *exchange, unsigned worker);

#endif
