/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The contract of the userspace engine: flows that the kernel relay does not carry, each a UDP socket bound
 * to a relay address and port. Two flows make a pair: what one receives leaves through the other's socket.
 * Statistics are those of bpf/flow.h, and so are the reasons.
 *
 * Packets are carried by worker processes. One that crashes or hangs is replaced, with its flows, by
 * engine_check; the others never notice. Whoever calls must have no second thread when a worker is started,
 * which engine_create, engine_check and every question to a worker that died may do.
 *
 * Functions return an engine_status, or a count where they say so; errno tells more after ENGINE_SYSTEM.
 * They may be called by one thread at a time. Read by the C compiler and, without the preprocessor's lines,
 * by cffi. Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d; ports are in the host's byte order.
 */
#ifndef VOXDP_ENGINE_H
#define VOXDP_ENGINE_H

#include <linux/types.h>

#include "flow.h"
#include "srtp_keys.h"

#define ENGINE_WORKERS	   64	/* most workers that one engine can have */
#define ENGINE_STAGE_BYTES 1016 /* longest settings and reports of a stage */
#define ENGINE_EVENT_BYTES 64
#define ENGINE_FINGERPRINT 64  /* longest hash of a certificate */
#define ENGINE_ICE_TEXT	   257 /* longest name or password of ICE (RFC 8839 5.4), and a zero */
#define ENGINE_CANDIDATES  24  /* of a peer: more are not tried */
#define ENGINE_OWN_HASH	   32  /* our certificate's, SHA-256 */
#define ENGINE_WIRES	   64  /* most AF_XDP sockets of one worker */
#define ENGINE_COPIES	   4   /* most copies of one flow */
#define ENGINE_HANG_MILLIS 700 /* a worker silent for longer is taken for hung */

enum engine_status {
	ENGINE_OK = 0,
	ENGINE_SYSTEM = -1,	   /* a system call failed: see errno */
	ENGINE_PORT_IN_USE = -2,   /* another socket has the local port */
	ENGINE_NOT_OURS = -3,	   /* no interface has the local address */
	ENGINE_NOT_PERMITTED = -4, /* local port below ip_unprivileged_port_start */
	ENGINE_NO_FILES = -5,	   /* limit of open files reached */
	ENGINE_FULL = -6,	   /* as many flows as engine_create was told */
	ENGINE_BAD_FLOW = -7,	/* address or port that can be no unicast endpoint, or value out of range */
	ENGINE_BAD_PAIR = -8,	/* a flow with itself, or one that has another partner already */
	ENGINE_UNKNOWN = -9,	/* no such flow */
	ENGINE_BAD_STAGE = -10, /* no such stage, or settings that it refuses */
};

/* A flow's name: where its socket is bound. */
struct engine_key {
	__u8 address[16];
	__u16 port;
	__u16 reserved[3];
};

enum engine_dtls_role {
	DTLS_OFF = 0,
	DTLS_ACTIVE = 1,  /* we begin the handshake */
	DTLS_PASSIVE = 2, /* the peer does */
};

/* DTLS-SRTP (RFC 5764) with the peer whose packets reach a flow. */
struct engine_dtls {
	__u8 role;  /* enum engine_dtls_role */
	__u8 bytes; /* of the hash: 20 (SHA-1), 28, 32, 48 or 64 (SHA-2) */
	__u8 reserved[2];
	__u8 fingerprint[ENGINE_FINGERPRINT]; /* of the peer's certificate */
};

enum engine_ice_role {
	ICE_OFF = 0,
	ICE_LITE = 1,	     /* we answer checks (RFC 8445 2.5) */
	ICE_CONTROLLED = 2,  /* we check too, and the peer nominates */
	ICE_CONTROLLING = 3, /* and we nominate */
};

struct engine_candidate {
	__u8 address[16];
	__u16 port;
	__u16 reserved;
	__u32 priority;
};

/* ICE (RFC 8445) with the peer whose packets reach a flow: one component, our side of it being its socket. */
struct engine_ice {
	__u8 role; /* enum engine_ice_role, to begin with: a conflict may turn it */
	__u8 candidate_count;
	__u8 complete; /* the peer has no further candidates */
	__u8 reserved;
	__u32 priority; /* of our candidate where the peer learns it from a check of ours */
	__u64 tiebreaker;
	char own_name[ENGINE_ICE_TEXT]; /* ice-ufrag and ice-pwd, ours and theirs */
	char own_password[ENGINE_ICE_TEXT];
	char peer_name[ENGINE_ICE_TEXT];
	char peer_password[ENGINE_ICE_TEXT];
	struct engine_candidate candidates[ENGINE_CANDIDATES];
	struct engine_candidate selected; /* by an engine that is no more; port 0: none */
};

enum engine_content {
	ENGINE_RTP = 0,
	ENGINE_RTCP = 1,
	ENGINE_RAW = 2, /* anything, such as UDPTL: not looked at */
};

/* Where packets to a flow's target go first: what is needed to send them without the host's stack. */
struct engine_hop {
	__u32 ifindex; /* 0: not known */
	__u8 target_mac[6];
	__u8 egress_mac[6];
	__u16 vlan[2]; /* VLAN ids, the outer one first, in the host's byte order; 0: none */
};

/* One direction: packets from `source` that reach `local` go to `target`, from the partner's local address.
 */
struct engine_flow {
	struct engine_key local;
	__u8 source_address[16];
	__u8 target_address[16]; /* all 0: nowhere yet */
	__u16 source_port; /* 0: learned inside source_address, from the first valid packet, or see latch */
	__u16 target_port; /* 0: nowhere, until the partner learns it */
	__u32 clock_rate;  /* Hz, 0: unknown, no jitter */
	__u8 rtcp;	   /* enum engine_content */
	__u8 held;	   /* drop everything */
	__u8 dscp;	   /* 0-63, or DSCP_KEEP */
	__u8 mux;	   /* RTCP comes beside RTP (RFC 5761); where keys are set it must be said */
	__u8 resumed;	   /* these keys have been used by an engine before */
	__u8 ice;	   /* source and target of this leg are what ICE selects, and nothing before */
	__u8 afresh;	   /* count from zero */
	__u8 latch;	   /* with source_port 0, and without dtls: so many consistent packets from
			      anywhere bind the source; 0: source_address it has to be */
	__u8 follows;	   /* with latch: as many of another source take the place of the one that is bound */
	__u8 apart; /* with latch: what is sent to the leg goes where it is said to, not to the source */
	__u8 demux; /* with mux: RTCP goes on by the flow at the port above; see relay.c */
	__u8 echo;  /* RTP goes back to where it comes from, under another SSRC; RTCP nowhere */
	struct engine_key
		bound; /* with source_port 0: what another carrier has learned of it; port 0: nothing */
	struct engine_hop hop;	 /* from the partner's address to the target */
	struct srtp_keys open;	 /* of what comes in; not with dtls */
	struct srtp_keys seal;	 /* of what goes out; not with the partner's dtls */
	struct engine_dtls dtls; /* with `source` */
	struct engine_key
		copies[ENGINE_COPIES]; /* other flows that get what comes in too, RTP alone; port 0: none */
};

enum engine_security {
	ENGINE_PLAIN = 0,
	ENGINE_WAITING = 1, /* for keys: nothing passes */
	ENGINE_SECURE = 2,
	ENGINE_FAILED = 3, /* DTLS ended with an error, and will be tried again */
};

enum engine_ice_state {
	ENGINE_ICE_OFF = 0,
	ENGINE_ICE_CHECKING = 1,
	ENGINE_ICE_SELECTED = 2,
	ENGINE_ICE_LOST = 3,   /* the peer has ceased to consent (RFC 7675): nothing passes */
	ENGINE_ICE_FAILED = 4, /* no pair was found in time; one that comes yet is taken */
};

/* A flow and what became of it, taken between two packets. */
struct engine_report {
	struct engine_key key;
	__u32 clock_rate;
	__u16 learned_port;	  /* source port in use of a learning flow, 0: none yet */
	__u8 learned_address[16]; /* and address, of one that latches */
	__u16 learned_target;	  /* port that the partner learned and that replaces target_port, 0: none */
	__u8 security;		  /* enum engine_security, of what comes in and what goes out together */
	__u8 suite;		  /* enum srtp_suite of what comes in */
	__u8 ice;		  /* enum engine_ice_state */
	__u8 wired_in; /* the last packet came by AF_XDP, not by its socket; and the last one left so */
	__u8 wired_out;
	__u8 reserved;
	__u16 selected_port; /* that ICE has selected, 0: none */
	__u8 selected_address[16];
	__u64 checks;	/* messages of ICE that were believed */
	__u64 refused;	/* and that were not */
	__u64 forged;	/* no packet of the key; among the dropped */
	__u64 replayed; /* seen before, or too old to know; among the dropped */
	struct flow_track track;
	struct flow_tally tally;
};

struct engine_summary {
	__u32 workers;
	__u32 flows;
	__u32 capacity;
	__u32 restarts;			      /* workers that were replaced */
	struct reason_count reasons[REASONS]; /* bytes: UDP payload */
};

/* An AF_XDP socket: one receive queue of an interface, of which each of some workers may have one. */
struct engine_wire {
	__u32 ifindex;
	__u32 queue;
	__u32 worker;
	__u32 mtu;
	__u32 zero_copy; /* the driver shares the memory; else the kernel copies each packet */
	__u16 seats;	 /* workers that share the queue's memory */
	__u16 seat;	 /* which of them this is, from 0 */
	__u64 received;
	__u64 sent;
	__u64 dropped; /* came while the worker was too slow */
};

/* What a flow does with RTP between receiving and sending: see stage.h. */
struct engine_stage {
	__u32 type; /* its place in the table of stages */
	__u32 length;
	__u8 settings[ENGINE_STAGE_BYTES];
};

enum engine_event_type {
	ENGINE_EVENT_STAGE = 1,	  /* kind and data are the stage's */
	ENGINE_EVENT_SECURE = 2,  /* DTLS has given keys */
	ENGINE_EVENT_FAILED = 3,  /* DTLS failed; data: why, as text */
	ENGINE_EVENT_RESTART = 4, /* the worker of this flow, and others, was replaced */
	ENGINE_EVENT_ICE = 5,	  /* kind: enum engine_ice_state; data: address, port in network order */
	ENGINE_EVENT_RTCP = 6,	  /* a compound of the flow's leg, or of ours in its stead: how it begins */
};

struct engine_event {
	struct engine_key key;
	__u64 time; /* ns of CLOCK_MONOTONIC */
	__u32 type; /* enum engine_event_type */
	__u32 kind;
	__u32 length;
	__u8 data[ENGINE_EVENT_BYTES];
};

struct engine;

/*
 * Starts `workers` processes with room for `flows` flows in all. history: file that remembers which packet
 * indexes each key was used for; vault: one that keeps what DTLS agreed on. Made if they are not there; NULL:
 * nothing outlives the engine. NULL: see errno.
 */
struct engine *engine_create(unsigned workers, unsigned flows, const char *history, const char *vault);

/* Ends the workers and closes every socket. */
void engine_destroy(struct engine *engine);

/* A descriptor that can be read once a worker has died: then call engine_check. */
int engine_watch(const struct engine *engine);

/*
 * Replaces workers that died or hang; call it ten times a second too while there are flows, and now and then
 * where there are none. Returns how many were replaced.
 */
int engine_check(struct engine *engine);

/* How many are open. */
unsigned engine_flows(const struct engine *engine);

/*
 * Opens both flows of a pair, or updates them where they stand: sockets and statistics stay, and so does a
 * learned port as long as its source and the partner's target stay, and a key's history. All or nothing;
 * *culprit becomes the index of the flow that was refused. bound: descriptors by engine_bind for a pair that
 * is opened, -1 for none, NULL for neither; they stay the caller's.
 */
int engine_set_pair(struct engine *engine, const struct engine_flow *pair, const int *bound,
		    unsigned *culprit);

/* Binds the port of a flow to come, so that what reaches it before waits in *descriptor. */
int engine_bind(const struct engine_key *key, int *descriptor);

/*
 * Tells a flow with `ice` what both descriptions say. Other names or passwords than before begin anew (RFC
 * 8445 9), while the pair that was selected goes on until there is another.
 */
int engine_set_ice(struct engine *engine, const struct engine_key *key, const struct engine_ice *ice);

/* The ICE of a flow as it was set; ENGINE_UNKNOWN: there is none. */
int engine_wanted_ice(const struct engine *engine, const struct engine_key *key, struct engine_ice *ice);

/* Gives a flow a stage, other settings for it, or with type 0 none. */
int engine_set_stage(struct engine *engine, const struct engine_key *key, const struct engine_stage *stage);

/* What the flow's stage counted, up to ENGINE_STAGE_BYTES; returns how many bytes, 0 if it has no stage. */
int engine_read_stage(struct engine *engine, const struct engine_key *key, __u8 *report);

/* Closes the flow and its partner; reports has room for both, and holds their last statistics. */
int engine_remove(struct engine *engine, const struct engine_key *key, struct engine_report *reports);

/* Reports on those of `count` keys that exist, in their order. Returns how many. */
int engine_read(struct engine *engine, const struct engine_key *keys, unsigned count,
		struct engine_report *reports);

/* The flow as it was set; ENGINE_UNKNOWN: there is none. */
int engine_wanted(const struct engine *engine, const struct engine_key *key, struct engine_flow *flow);

/* Up to `room` keys from *cursor on (first 0), which moves on; returns how many, 0: no more. */
int engine_list(struct engine *engine, unsigned *cursor, struct engine_key *keys, unsigned room);

int engine_sum(struct engine *engine, struct engine_summary *summary);

/* The oldest event that was not taken yet; returns 0: there is none. */
int engine_take_event(struct engine *engine, struct engine_event *event);

/* Bytes of master key and salt of a suite; 0: there is no such suite. */
unsigned srtp_master_length(unsigned suite);

/* The other flow of a pair; ENGINE_UNKNOWN: there is no such flow. */
int engine_partner(const struct engine *engine, const struct engine_key *key, struct engine_key *partner);

/* Receive queues of an interface, 1 where its driver does not tell. */
unsigned engine_queues(const char *interface);

/*
 * Opens an AF_XDP socket on a receive queue for one of `seats` workers. first: one that is open on it
 * already; -1: this is the first, and memory an empty file of engine_wire_memory bytes for the packets of
 * all, from memfd_create. Needs CAP_NET_RAW, which an engine has not: another process may do it in its stead.
 * Returns the descriptor, or an errno as a negative number.
 */
int engine_open_wire(__u32 ifindex, __u32 queue, unsigned seats, int first, int memory, int *zero_copy);
__u32 engine_wire_memory(unsigned seats);

/* Where a queue's sockets are in the relay's map `wires`, and the relay's maps. */
struct engine_wire_place {
	int wires; /* the maps of these names */
	int queues;
	__u32 place;
	__u32 seats; /* where worker 0's is or would be, by one more than its place; 0: all goes to `place` */
};

/*
 * Gives an open socket to wire->worker, and packets of its queue to the socket. The descriptors stay the
 * caller's. The engine keeps them too, so that a worker that is replaced loses none of what has come.
 */
int engine_add_wire(struct engine *engine, const struct engine_wire *wire, int descriptor, int memory,
		    const struct engine_wire_place *place);

/* The worker that has a flow; ENGINE_UNKNOWN: there is none. */
int engine_worker(const struct engine *engine, const struct engine_key *key);

/* Up to `room` wires that are in use; returns how many. */
int engine_wires(struct engine *engine, struct engine_wire *wires, unsigned room);

/* Closes all: packets come by the flows' own sockets then. */
void engine_drop_wires(struct engine *engine);

/* A map of the relay by its pin, or an errno as a negative number; and whatever it has under its keys
 * removed. */
int engine_open_map(const char *path);
void engine_clear_queues(int queues);

/* The SHA-256 hash of the certificate that DTLS shows, ENGINE_OWN_HASH bytes. */
void engine_fingerprint(const struct engine *engine, __u8 *hash);

/* The processes of the workers; returns how many. */
int engine_processes(const struct engine *engine, int *processes);

/* For the process that parses hostile packets: no core dumps, no ptrace, no new privileges. */
int engine_harden(void);

/* Gives up all capabilities but those of this mask, bit n for number n of linux/capability.h. 0, or -1 with
 * errno.
 */
int engine_keep_capabilities(__u64 kept);

#endif
