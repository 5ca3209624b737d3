/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A process that owns flows. Nobody else writes to a slot while it runs; who wants something of them posts a
 * command and waits until the worker, between two batches of packets, has carried it out. What it needs to
 * begin again in a worker's place is kept by the process that starts it.
 */
#ifndef VOXDP_WORKER_H
#define VOXDP_WORKER_H

#include <sys/types.h>

#include "flow_crypto.h"
#include "table.h"
#include "worker_page.h"

struct exchange;

/* The files of a wire, kept by the process that starts workers: what a worker left undone is in them. */
struct wire_files {
	bool open;
	int descriptor;
	int memory;
};

/* What all workers of an engine share with it. */
struct worker_shared {
	struct flow_slot *slots;
	struct table
		*table; /* as it is when a worker starts: which flows are its own, and how they were set */
	struct engine_stage *stages; /* by slot; type 0: none */
	struct engine_ice *ices;     /* by slot; role ICE_OFF: none */
	struct history_store *store;
	struct vault *vault;
	struct dtls_identity *identity;
	struct exchange *exchange;     /* what workers give each other */
	struct wire_files *wire_files; /* [worker * ENGINE_WIRES + place in its page] */
};

/* A worker as the process sees it that started it. */
struct worker {
	const struct worker_shared *shared;
	struct worker_page *page; /* shared memory that outlives the worker */
	unsigned number;
	unsigned flows; /* for the asker's own use */
	unsigned starts;
	pid_t process;
	int descriptor;	 /* its pidfd */
	int channel;	 /* a byte asks, a byte answers */
	__u64 beat;	 /* last seen */
	__u64 beat_time; /* when it was rung for the next one; 0: not yet */
};

/* Starts the process, which takes over the flows that the table says are its own. 0 or -1 with errno. */
int worker_start(struct worker *worker);

void worker_stop(struct worker *worker);

/*
 * Whether the process is alive, and wakes when its bell is rung; rings it, so that the next look can tell.
 * `now` in ns of CLOCK_MONOTONIC.
 */
bool worker_alive(struct worker *worker, __u64 now);

/* 0: the command in the page was carried out, with its status; -1: the worker did not answer in time. */
int worker_ask(struct worker *worker, const int *sockets, unsigned count);

/* What the process does until it is killed; sockets and memory are those of the process that forked it. */
_Noreturn void worker_run(const struct worker *worker, int channel);

#endif
