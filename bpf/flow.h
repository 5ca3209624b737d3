/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The contract between the kernel relay, the engine and the controller: one flow entry per relay address and
 * UDP port, the reasons for every verdict, the events that the relay reports and its configuration.
 *
 * Read by clang for the BPF object, by the C compiler for the engine, and by cffi for Python. So it holds
 * plain declarations only: no includes, no attributes, no macros but numbers. tests/bpf compares every size
 * and offset with the object's BTF.
 *
 * Addresses and ports marked __be are in network byte order; all else is in the host's. An address of four
 * words, or of 16 bytes, is IPv6; IPv4 is written there as ::ffff:a.b.c.d.
 */
#ifndef VOXDP_FLOW_H
#define VOXDP_FLOW_H

/* Changes whenever a struct below does; part of the pin directory's name, so two layouts never meet. */
#define VOXDP_LAYOUT 5

#define RELAY_ADDRESSES	  8	/* relay addresses a host can have; each costs FLOWS_PER_ADDRESS entries */
#define FLOWS_PER_ADDRESS 65536 /* flow index = address slot * 65536 + UDP port (host order) */
#define EVENT_PAYLOAD	  88
#define COPY_BYTES	  2024 /* of a packet, in a struct copy */
#define REASONS		  64
#define WIRES		  512  /* AF_XDP sockets that a host's engine can have */
#define SEAT_STACK	  255  /* no worker's: what is handed up is for the port's own socket */
#define WIRE_FRAME	  1600 /* longest frame for them; what is longer goes to the flow's UDP socket */

enum flow_state {
	FLOW_OFF = 0,	   /* every packet is dropped: unused, held, or being rewritten */
	FLOW_LEARNING = 1, /* source address fixed, source port taken from the first valid packet */
	FLOW_PINNED = 2,   /* source address and port fixed */
	FLOW_LATCHING = 3, /* source open, until latch_packets consistent packets came from one */
};

enum flow_action {
	ACTION_FORWARD = 0, /* rewrite and transmit in the driver */
	ACTION_ENGINE = 1,  /* hand up to the engine's socket */
	ACTION_DROP = 2,    /* blocked: count and drop */
	ACTION_RAW = 3,	    /* forward whatever comes of the source, with FLAG_RTCP: no statistics of RTP */
};

/* Those above 64 tell the kernel which of the rule's other fields are in use. */
enum flow_flag {
	FLAG_RTCP = 1,		   /* port carries RTCP: checked as RTCP, no RTP statistics */
	FLAG_RTCP_COPY = 2,	   /* RTCP is copied to user space as an event */
	FLAG_ZERO_CHECKSUM = 4,	   /* write UDP checksum 0; to IPv6, which needs one, as FLAG_FULL_CHECKSUM */
	FLAG_MIRROR = 8,	   /* copy each RTP packet's payload of UDP to the ring buffer `mirror` */
	FLAG_CAPTURE = 16,	   /* copy each frame, before and after, to the ring buffer `captures` */
	FLAG_RTCP_MUX = 32,	   /* RTCP shares the port with RTP (RFC 5761) */
	FLAG_FULL_CHECKSUM = 64,   /* compute the UDP checksum anew: for sources whose own is partial */
	FLAG_LOCAL6 = 128,	   /* packets come as IPv6 */
	FLAG_TARGET6 = 256,	   /* packets leave as IPv6 */
	FLAG_TAGGED = 512,	   /* flow_rule.vlan */
	FLAG_POLICED = 1024,	   /* flow_rule.police_interval */
	FLAG_PAYLOAD_TYPES = 2048, /* flow_wide.payload_types */
	FLAG_DTMF = 4096,	   /* flow_wide.dtmf_type */
	FLAG_PREVIOUS = 8192,	   /* flow_wide.previous_address */
	FLAG_MOVABLE = 16384,	   /* the partner latches, so the target may become another */
	FLAG_TAGGED_TWICE = 32768, /* both of flow_rule.vlan, with FLAG_TAGGED */
};

/*
 * Line 0, written by the controller, and read by the kernel on every packet. generation and state are one
 * aligned 8-byte word: the controller stores state FLOW_OFF, fills the rest, then stores the word with a new
 * generation; the kernel loads the word first and again when it has rewritten the packet, and drops the
 * packet if the word is another.
 */
struct flow_rule {
	__u32 generation;
	__u8 state;	       /* enum flow_state */
	__u8 action;	       /* enum flow_action */
	__u16 flags;	       /* enum flow_flag */
	__be32 source_address; /* this and the others here: 0 where it is IPv6, see struct flow_wide */
	__be16 source_port;    /* 0 while it is to be learned */
	/*
	 * Checksum deltas: ones' complement sums of 16-bit words as they lie in the packet, out minus in,
	 * folded. ip_delta: both IPv4 addresses, and one less of TTL. udp_delta: both addresses and ports. A
	 * source that is not fixed, port or all of it, counts as 0 here: the kernel takes it away itself.
	 */
	__be16 ip_delta;
	__be32 egress_address;
	__be32 target_address;
	__be16 egress_port; /* relay port that packets leave from */
	__be16 target_port;
	__be16 udp_delta;
	__u8 dscp;	    /* 0-63, or DSCP_KEEP */
	__u8 touch;	    /* the kernel's: always 0, stored to have the line fetched */
	__u8 target_mac[6]; /* next hop */
	__u8 egress_mac[6];
	__u32 ifindex; /* egress interface, 0: next hop unknown */
	__u32 clock;   /* RTP clock rate as ticks * 2^42 / 10^9, see CLOCK_SHIFT; 0: unknown, no jitter */
	__u32 police_interval; /* ns that a packet costs, see police.h; the burst is in struct flow_wide */
};

#define DSCP_KEEP   0xff
#define NO_PARTNER  0xffffffff
#define CLOCK_SHIFT 10 /* ticks = ((ns >> CLOCK_SHIFT) * clock) >> 32, modulo 2^32 */

/* Line 1, written by the kernel on every forwarded packet; the controller clears it with a new call. */
struct flow_track {
	/*
	 * What was learned, each (generation & 0xffff) << 16 | port in network order, 0: nothing. A tag of
	 * another generation counts as nothing. binding: this flow's source port, set once by compare and
	 * swap. target: the port the partner learned, which replaces rule.target_port.
	 */
	__u32 binding;
	__u32 target;
	__u64 packets;
	__u64 bytes;	 /* UDP payload */
	__u64 last_seen; /* ns, CLOCK_MONOTONIC; 0: no packet yet */
	__u64 window;	 /* bit n: sequence - n has been seen */
	__u32 ssrc;
	__u32 transit;	   /* RFC 3550 A.8, clock ticks modulo 2^32 */
	__u32 jitter;	   /* RFC 3550 A.8, clock ticks * 16 */
	__u16 sequence;	   /* highest, host order */
	__u8 payload_type; /* last seen */
	__u8 tos;	   /* last seen, as it came: IPv4 type of service or IPv6 traffic class */
	__u32 largest_gap; /* longest time between two packets, microseconds */
	__u8 touch;	   /* as in struct flow_rule */
	__u8 moved;	   /* with `target`: the address is another too, the one the partner latched to */
	/* Set once all is well with a packet: those like it may take the express way. 0: none may. */
	__u16 express;
};

/* Lines 0 and 1 of the ledger, written by the controller: what not every packet needs. */
struct flow_wide {
	__be32 source_address[4]; /* without meaning while FLOW_LATCHING */
	__be32 egress_address[4];
	__be32 target_address[4];
	__u32 police_burst; /* packets that may come at once */
	__u8 dtmf_type;	    /* payload type of telephone events (RFC 4733) */
	__u8 latch_packets;
	__be16 previous_port;
	__u8 touch; /* as in struct flow_rule */
	__u8 demux; /* with FLAG_RTCP_MUX: RTCP is for the flow at the port above */
	__u8 stun;  /* checks of ICE pass to the engine's socket, whoever sends them */
	__u8 seat;  /* one more than the number of the engine's worker that has the flow, 0: not known */
	/* A further source, until the flow's own yields its first valid packet. */
	__be32 previous_address[4];
	__u32 payload_types[4]; /* bit n of all of it: RTP payload type n may pass */
	__u32 police_rate;	/* packets per second, as the controller was told */
	__u32 tenant;
	__u32 partner;	/* index of the flow in the other direction, NO_PARTNER: none */
	__be16 vlan[2]; /* VLAN ids that packets leave with, outer and inner; a single one is vlan[1], 0: none
			 */
	__u32 unused[5];
};

/* Lines 2 and 3, written by the kernel on the rare packet only: loss, disorder, drops, strangers. */
struct flow_tally {
	__u64 rejected;	      /* packets from a source that is not the flow's */
	__u64 dropped;	      /* packets of this flow dropped for any other reason */
	__u64 rejected_event; /* ns of the last EVENT_REJECTED: at most one a second and flow */
	__u64 unused;
	__u32 lost; /* by sequence numbers, less those that came late */
	__u32 reordered;
	__u32 duplicates;
	__u32 ssrc_changes;
	__u32 resets;		   /* sequence jumped too far to be loss */
	__u32 policed;		   /* of `dropped`: too many packets */
	__u32 copies_dropped;	   /* for which `mirror` or `captures` had no room */
	__u32 settled;		   /* generation in which the previous source lost its right */
	__u8 rejected_address[16]; /* IPv4 as ::ffff:a.b.c.d */
	__u8 latch_address[16]; /* FLOW_LATCHING: the candidate, and the source once track.binding is set */
	__u32 latch_guard;	/* 1 while one CPU works on the candidate */
	__u32 latch_generation; /* that the candidate is of */
	__u32 latch_ssrc;
	/* The telephone event that is or was last in progress. */
	__u32 dtmf_timestamp;
	__u32 dtmf_ssrc;
	__u16 dtmf_duration;
	__u8 dtmf_event;
	__u8 dtmf_state; /* DTMF_OPEN or DTMF_TOLD, and the volume below it */
	__be16 rejected_port;
	__be16 latch_port;
	__u16 latch_sequence;
	__u8 latch_count; /* consistent packets of the candidate */
	__u8 last_reason; /* enum reason of the last drop */
};

#define DTMF_OPEN 0x40
#define DTMF_TOLD 0x80

/* Element of the map `flows`, 128 bytes: the two cache lines that every forwarded packet touches. */
struct flow {
	struct flow_rule rule;
	__u64 police_time; /* the kernel's, ns: when the bucket is full again; as most flows are policed, on
			      line 0 */
	struct flow_track track;
};

/*
 * Element of the map `ledgers`, at the same index: four lines that few packets touch. A map of its own, so
 * that the flows of many calls lie close together: cache and page table entries for 50,000 of them are
 * scarce.
 */
struct flow_ledger {
	struct flow_wide wide;
	struct flow_tally tally;
};

/* Why a packet met its end. Numbers are never reused; 0-31 forwarded or dropped, 32-63 passed untouched. */
enum reason {
	REASON_FORWARDED = 0,
	REASON_UNKNOWN_PORT = 1, /* in the media range of a relay address, but no flow was ever there */
	REASON_OFF = 2,		 /* flow switched off or being rewritten */
	REASON_WRONG_SOURCE = 3,
	REASON_SHORT = 4,	/* frame ends inside a header */
	REASON_BAD_LENGTH = 5,	/* IP, UDP and frame lengths disagree */
	REASON_BAD_VERSION = 6, /* neither RTP nor RTCP version 2 */
	REASON_BAD_RTCP = 7,
	REASON_BAD_PAYLOAD_TYPE = 8,
	REASON_OPTIONS = 9,
	REASON_TTL = 10, /* TTL would reach 0 */
	REASON_POLICED = 11,
	REASON_NO_NEXTHOP = 12,
	REASON_BLOCKED = 13,
	REASON_BAD_SOURCE_PORT = 14, /* port 0 */
	REASON_BAD_CHECKSUM = 15, /* IPv6 without UDP checksum; IPv4 header that is to become IPv6, damaged */
	REASON_EXTENSIONS = 16,	  /* more IPv6 extension headers than are walked */
	REASON_HEADROOM = 17,	  /* no room before the frame for the longer headers */
	REASON_TOO_BIG = 18,	  /* beyond the MTU of the egress interface with the longer headers */
	REASON_UNLATCHED = 19,	  /* from a source that has not yet shown enough consistent packets */
	REASON_NOT_MUXED = 20,	  /* RTCP on a port for RTP alone */
	REASON_FLOOD = 21,	  /* not of a flow, and too many from this source */
	/* What only the engine finds. */
	REASON_BAD_STUN =
		26,	     /* connectivity check that is damaged, of others' credentials, or one too many */
	REASON_NO_PAIR = 27, /* ICE has selected no pair yet, or has lost it */
	REASON_FORGED = 28,  /* SRTP of another key, damaged, or not protected at all */
	REASON_REPLAYED = 29, /* SRTP index used before, or too old to know */
	REASON_NO_KEY = 30,   /* keys not agreed yet, or spent */
	REASON_PASS_NOT_IP = 32,
	REASON_PASS_NOT_UDP = 33,
	REASON_PASS_NOT_OURS = 34, /* another address, or outside the media port range */
	REASON_PASS_FRAGMENT = 35, /* to a relay address; ports unknown, may be large signalling */
	REASON_PASS_ENGINE = 36,
};

/* Element of the per-CPU array `reasons`, indexed by enum reason. */
struct reason_count {
	__u64 packets;
	__u64 bytes; /* whole frames */
};

/*
 * Key of the map `queues`. Its values are places in `wires`: in the lower half that of the queue's first
 * socket; in the upper half, where each worker of the engine may have one, one more than worker 0's, else 0.
 */
struct wire_key {
	__u32 ifindex;
	__u32 queue;
};

#define WIRE_VALUE(place, seats) ((place) | (seats) << 16)

enum event_type {
	EVENT_LEARNED = 1,
	EVENT_REJECTED = 2,
	EVENT_SSRC = 3,
	EVENT_RTCP = 4,
	EVENT_DTMF = 5,
};

/* Record of the ring buffer `events`; always this size. */
struct event {
	__u64 time; /* ns, CLOCK_MONOTONIC */
	__u32 flow; /* index */
	__u32 generation;
	__u8 type;	  /* enum event_type */
	__u8 reason;	  /* enum reason, of EVENT_REJECTED */
	__u16 length;	  /* bytes of payload in use */
	__u32 ssrc;	  /* of EVENT_SSRC: the new one; of EVENT_DTMF: the stream's */
	__u8 address[16]; /* source; IPv4 as ::ffff:a.b.c.d */
	__be16 port;
	/* Of EVENT_DTMF, RFC 4733 2.3: event 0-255, dBm0 without sign, RTP time stamp of its beginning,
	 * ticks. */
	__u8 digit;
	__u8 volume;
	__u32 timestamp;
	__u32 duration;
	__u32 reserved;
	__u8 payload[EVENT_PAYLOAD]; /* of EVENT_RTCP: the first bytes of the compound packet */
};

enum copy_kind {
	COPY_BEFORE = 1,  /* a frame as it came in */
	COPY_AFTER = 2,	  /* the same as it leaves */
	COPY_PAYLOAD = 3, /* the datagram's payload: RTP */
};

/* Record of the ring buffers `mirror` and `captures`; as long as header and `captured` bytes are. */
struct copy {
	__u64 time; /* ns, CLOCK_MONOTONIC */
	__u32 flow;
	__u32 generation;
	__u16 length;	/* of the original */
	__u16 captured; /* of that, what is in `bytes` */
	__u8 kind;	/* enum copy_kind */
	__u8 reserved[3];
	__u8 bytes[COPY_BYTES];
};

/* Constant for the life of a loaded program; the map `config` is frozen. */
struct relay_config {
	__u32 layout;
	__u32 address_count;
	__u16 port_min; /* first and last UDP port of the media range */
	__u16 port_max;
	/*
	 * What the host gets of one source (IPv4 address, IPv6 /64) that belongs to no flow: ns that a packet
	 * costs, 0: no limit; packets at once.
	 */
	__u32 unmatched_interval;
	__u32 unmatched_burst;
	__u32 unmatched_rate; /* packets per second, as the loader was told */
	/* The slot of an address is its first place here; unused places hold the first address. */
	__be32 addresses[RELAY_ADDRESSES][4];
	__be32 ipv4[RELAY_ADDRESSES]; /* the same once more, those that are IPv4; else 0 */
};

#endif
