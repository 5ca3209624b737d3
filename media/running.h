/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A worker's own side, as the files of it share it: what runs, and what each of them does with that. */
#ifndef VOXDP_RUNNING_H
#define VOXDP_RUNNING_H

#include "intake.h"
#include "relay.h"
#include "worker.h"

struct running {
	const struct worker_shared *shared;
	struct worker_page *page;
	unsigned number;
	int epoll;
	int channel;
	__u32 *timed; /* slots with a stage, an ICE agent or a handshake under way */
	unsigned timed_count;
	unsigned timed_left; /* of the round under way, in which each does what is due; 0: none is */
	bool shakes;	     /* and handshakes are looked at in it */
	__u64 next_due;	     /* the earliest time that those wait for who had their turn in it */
	__u64 due;	     /* the earliest time that one of all waits for */
	__u64 dtls_due;
	struct relay relay;
	struct intake intake;
	bool behind; /* packets wait on a wire that the kernel has not sent */
};

/* Wakes the worker when something can be read; `what` comes with the event. 0 or -1 with errno. */
int worker_watch(const struct running *running, int descriptor, void *what);

/* Keeps the list of slots that have something to do without a packet. */
void timers_note(struct running *running, const struct flow_slot *slot);

/* Lets them do what is due, for a moment; the rest of them the next time. */
void timers_tick(struct running *running);

/* When something is due; ~0: nothing is. */
__u64 timers_due(const struct running *running);

/* ms until something is due. */
int timers_patience(const struct running *running);

/* Carries out the command that the engine has posted; ends the process if the engine is gone. */
void worker_serve(struct running *running);

void worker_change_pair(struct running *running, struct flow_slot *one, struct flow_slot *other,
			const struct engine_flow *wanted, bool renew);

/* Takes both files over. 0 or -1 with errno: then they are closed. */
int worker_open_wire(struct running *running, struct engine_wire *wire, const int *files);

/* Takes up a dead worker's flows and wires, with what waits in them. */
void worker_resume(struct running *running);

#endif
