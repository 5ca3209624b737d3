/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a worker shares with the process that started it, beside the slots of its flows. */
#ifndef VOXDP_WORKER_PAGE_H
#define VOXDP_WORKER_PAGE_H

#include "engine.h"

#define ASK_AT_ONCE 64	 /* slots in one command, between which a worker gets back to its packets */
#define EVENTS	    1024 /* that wait to be taken */
#define NO_SLOT	    0xffffffffU

enum command_type {
	COMMAND_OPEN,	/* slots[0] and slots[1] become a pair as wanted, on the sockets that come along */
	COMMAND_CHANGE, /* the same pair, wanted anew */
	COMMAND_CLOSE,	/* leave slots[] alone from now on; their last reports */
	COMMAND_READ,	/* reports on `count` slots */
	COMMAND_STAGE,	/* slots[0] gets `stage` */
	COMMAND_STAGE_READ, /* what the stage of slots[0] counted, into `stage` */
	COMMAND_ICE,	    /* slots[0] gets `ice` */
	COMMAND_WIRE,	    /* `wire`, whose socket and memory come along */
	COMMAND_WIRES_READ, /* wires[].dropped of the page, as it is now */
	COMMAND_UNWIRE,	    /* close all wires */
};

/* One command at a time; read by the worker once it is told on its channel, and by the asker once it answers.
 */
struct command {
	__u32 type; /* enum command_type */
	__u32 count;
	__s32 status; /* enum engine_status */
	__s32 error;  /* errno of ENGINE_SYSTEM */
	__u32 slots[ASK_AT_ONCE];
	__u32 companions[2]; /* of RTCP that is opened: the slots of its RTP, NO_SLOT: none */
	struct engine_flow wanted[2];
	struct engine_stage stage;
	struct engine_ice ice;
	struct engine_report reports[ASK_AT_ONCE];
	struct engine_wire wire;
};

/* Written by the worker at `head`, taken by the other side at `tail`; one of each. */
struct event_queue {
	__u32 head;
	__u32 tail;
	struct engine_event events[EVENTS];
};

struct worker_page {
	__u64 beat;   /* grows whenever it wakes, which a ring of its bell makes it do */
	__u32 slot;   /* whose packets it has at hand, or NO_SLOT */
	__u32 asleep; /* it waits, so that others who hand it packets have to wake it */
	struct reason_count reasons[REASONS];
	struct event_queue queue;
	struct engine_wire wires[ENGINE_WIRES]; /* ifindex 0: none */
	struct command command;
};

/* 0: the queue is full. The event gets its time here. */
int worker_page_tell(struct worker_page *page, const struct engine_event *event);

/* The same for what comes often and is missed little: 0 also where the queue is half full. */
int worker_page_mention(struct worker_page *page, const struct engine_event *event);

/* 0: nothing waits. */
int worker_page_take(struct worker_page *page, struct engine_event *event);

#endif
