/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A thread that owns flows. Nobody else reads or writes a slot while it runs; who wants something of them
 * posts a command and waits until the worker, between two batches of packets, has carried it out.
 */
#ifndef VOXDP_WORKER_H
#define VOXDP_WORKER_H

#include <pthread.h>

#include "flow_slot.h"
#include "relay_batch.h"

enum command_type {
	COMMAND_OPEN,	/* slots[0] and slots[1] become a pair as wanted, on sockets[] */
	COMMAND_CHANGE, /* the same pair, wanted anew */
	COMMAND_CLOSE,	/* leave slots[] alone from now on; their last reports */
	COMMAND_READ,	/* reports on `count` slots */
	COMMAND_SUM,	/* add to reasons[] */
	COMMAND_STOP,
};

struct command {
	enum command_type type;
	unsigned count;
	struct flow_slot **slots;
	const struct engine_flow *wanted;
	const int *sockets;
	struct engine_report *reports;
	struct reason_count *reasons;
	int status;
	int error; /* errno of ENGINE_SYSTEM */
};

struct worker {
	pthread_t thread;
	int epoll;
	int wake;		/* eventfd: a command is posted */
	int done;		/* eventfd: it is carried out */
	struct command *posted; /* handed over by `wake` and `done` */
	unsigned flows;		/* for the poster's own use */
	struct reason_count reasons[REASONS];
	struct relay_batch batch;
};

/* 0 or -1 with errno. The thread blocks every signal. */
int worker_start(struct worker *worker);

void worker_stop(struct worker *worker);

/* Carries a command out on the worker's thread; returns its status. One thread at a time may ask. */
int worker_ask(struct worker *worker, struct command *command);

#endif
