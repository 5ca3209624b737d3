/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The contract of the userspace engine: flows of a host where XDP cannot carry them, each a UDP socket bound
 * to a relay address and port. Two flows make a pair: what one receives leaves through the other's socket.
 * Checks, reasons and statistics are those of bpf/flow.h.
 *
 * Functions return an engine_status, or a count where they say so; errno tells more after ENGINE_SYSTEM.
 * They may be called by one thread at a time. Read by the C compiler and, without the preprocessor's lines,
 * by cffi. Addresses marked __be are in network byte order; all else, ports included, in the host's.
 */
#ifndef VOXDP_ENGINE_H
#define VOXDP_ENGINE_H

#include <linux/types.h>

#include "flow.h"

#define ENGINE_WORKERS 64 /* most threads that one engine can have */

enum engine_status {
	ENGINE_OK = 0,
	ENGINE_SYSTEM = -1,	   /* a system call failed: see errno */
	ENGINE_PORT_IN_USE = -2,   /* another socket has the local port */
	ENGINE_NOT_OURS = -3,	   /* no interface has the local address */
	ENGINE_NOT_PERMITTED = -4, /* local port below ip_unprivileged_port_start */
	ENGINE_NO_FILES = -5,	   /* limit of open files reached */
	ENGINE_FULL = -6,	   /* as many flows as engine_create was told */
	ENGINE_BAD_FLOW = -7, /* address or port that can be no unicast endpoint, or value out of range */
	ENGINE_BAD_PAIR = -8, /* a flow with itself, or one that has another partner already */
	ENGINE_UNKNOWN = -9,  /* no such flow */
};

/* A flow's name: where its socket is bound. */
struct engine_key {
	__be32 address;
	__u16 port;
	__u16 reserved;
};

/* One direction: packets from `source` that reach `local` go to `target`, from the partner's local address.
 */
struct engine_flow {
	struct engine_key local;
	__be32 source_address;
	__be32 target_address; /* 0: nowhere yet */
	__u16 source_port;     /* 0: learned inside source_address, from the first valid packet */
	__u16 target_port;     /* 0: nowhere, until the partner learns it */
	__u32 clock_rate;      /* Hz, 0: unknown, no jitter */
	__u8 rtcp;	       /* port carries RTCP, not RTP */
	__u8 held;	       /* drop everything */
	__u8 dscp;	       /* 0-63, or DSCP_KEEP */
	__u8 reserved;
};

/* A flow and what became of it, taken between two packets. */
struct engine_report {
	struct engine_flow flow;
	__u16 learned_port;   /* source port in use of a learning flow, 0: none yet */
	__u16 learned_target; /* port that the partner learned and that replaces target_port, 0: none */
	struct flow_track track;
	struct flow_tally tally;
};

struct engine_summary {
	__u32 workers;
	__u32 flows;
	__u32 capacity;
	struct reason_count reasons[REASONS]; /* bytes: UDP payload */
};

struct engine;

/* Starts `workers` threads with room for `flows` flows in all. NULL: see errno. */
struct engine *engine_create(unsigned workers, unsigned flows);

/* Stops the threads and closes every socket. */
void engine_destroy(struct engine *engine);

/*
 * Opens both flows of a pair, or updates them where they stand: sockets and statistics stay, and so does a
 * learned port as long as its source and the partner's target stay. All or nothing; *culprit becomes the
 * index of the flow that was refused.
 */
int engine_set_pair(struct engine *engine, const struct engine_flow *pair, unsigned *culprit);

/* Closes the flow and its partner; reports has room for both, and holds their last statistics. */
int engine_remove(struct engine *engine, const struct engine_key *key, struct engine_report *reports);

/* Reports on those of `count` keys that exist, in their order. Returns how many. */
int engine_read(struct engine *engine, const struct engine_key *keys, unsigned count,
		struct engine_report *reports);

/* Up to `room` keys from *cursor on (first 0), which moves on; returns how many, 0: no more. */
int engine_list(struct engine *engine, unsigned *cursor, struct engine_key *keys, unsigned room);

int engine_sum(struct engine *engine, struct engine_summary *summary);

/* For the process that parses hostile packets: no core dumps, no ptrace, no new privileges. */
int engine_harden(void);

#endif
