/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The contract between the kernel relay, the engine and the controller: one flow entry per relay address and
 * UDP port, the reasons for every verdict, the events that the relay reports and its configuration.
 *
 * Read by clang for the BPF object, by the C compiler for the engine, and by cffi for Python. So it holds
 * plain declarations only: no includes, no attributes, no macros but numbers. tests/bpf compares every size
 * and offset with the object's BTF.
 *
 * Addresses and ports marked __be are in network byte order; all else is in the host's.
 */
#ifndef VOXDP_FLOW_H
#define VOXDP_FLOW_H

/* Changes whenever a struct below does; part of the pin directory's name, so two layouts never meet. */
#define VOXDP_LAYOUT 2

#define RELAY_ADDRESSES	  8	/* relay addresses a host can have; each costs FLOWS_PER_ADDRESS entries */
#define FLOWS_PER_ADDRESS 65536 /* flow index = address slot * 65536 + UDP port (host order) */
#define EVENT_PAYLOAD	  80
#define REASONS		  64

enum flow_state {
	FLOW_OFF = 0,	   /* every packet is dropped: unused, held, or being rewritten */
	FLOW_LEARNING = 1, /* source address fixed, source port taken from the first valid packet */
	FLOW_PINNED = 2,   /* source address and port fixed */
};

enum flow_action {
	ACTION_FORWARD = 0, /* rewrite and transmit in the driver */
	ACTION_ENGINE = 1,  /* hand up to the engine's socket */
	ACTION_DROP = 2,    /* blocked: count and drop */
};

enum flow_flag {
	FLAG_RTCP = 1,		/* port carries RTCP: checked as RTCP, no RTP statistics */
	FLAG_RTCP_COPY = 2,	/* RTCP is copied to user space as an event */
	FLAG_ZERO_CHECKSUM = 4, /* write UDP checksum 0 (IPv4): for peers whose checksum is partial */
};

/*
 * Line 0, written by the controller, and read by the kernel on every packet. generation and state are one
 * aligned 8-byte word: the controller stores state FLOW_OFF, fills the rest, then stores the word with a new
 * generation; the kernel loads the word first and again when it has rewritten the packet, and drops the
 * packet if the word is another.
 */
struct flow_rule {
	__u32 generation;
	__u8 state;  /* enum flow_state */
	__u8 action; /* enum flow_action */
	__u16 flags; /* enum flow_flag */
	__be32 source_address;
	__be16 source_port; /* 0 while FLOW_LEARNING */
	/*
	 * Checksum deltas: ones' complement sums of 16-bit words as they lie in the packet, out minus in,
	 * folded. ip_delta: both addresses, and one less of TTL. udp_delta: both addresses and ports; an
	 * incoming source port that is 0 here, as it is learned, the kernel takes away itself.
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
	__u32 ifindex;	/* egress interface, 0: next hop unknown */
	__be16 vlan[2]; /* outer and inner 802.1Q tag control, 0: none; for a later layout-compatible use */
	__u32 clock;	/* RTP clock rate as ticks * 2^42 / 10^9, see CLOCK_SHIFT; 0: unknown, no jitter */
	__u32 partner;	/* index of the flow in the other direction, NO_PARTNER: none */
	__u16 police_rate; /* packets per second, 0: unlimited; for a later layout-compatible use */
	__u16 police_burst;
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
	__u8 tos;	   /* last seen, as it came */
	__u32 largest_gap; /* longest time between two packets, microseconds */
	__u8 touch;	   /* as in struct flow_rule */
	__u8 reserved;
	__u16 police; /* tokens left; for a later layout-compatible use */
};

/* Written by the controller: what not every packet needs. The IPv6 addresses have their place here. */
struct flow_wide {
	__u32 tenant;
	__u8 reserved[60];
};

/* Written by the kernel on the rare packet only: loss, disorder, drops, strangers. */
struct flow_tally {
	__u64 rejected;		   /* packets from a source that is not the flow's */
	__u64 dropped;		   /* packets of this flow dropped for any other reason */
	__u64 rejected_event;	   /* ns of the last EVENT_REJECTED: at most one a second and flow */
	__u8 rejected_address[16]; /* IPv4 as ::ffff:a.b.c.d */
	__be16 rejected_port;
	__u8 last_reason; /* enum reason of the last drop */
	__u8 reserved;
	__u32 lost; /* by sequence numbers, less those that came late */
	__u32 reordered;
	__u32 duplicates;
	__u32 ssrc_changes;
	__u32 resets; /* sequence jumped too far to be loss */
};

/* Element of the map `flows`, 128 bytes: the two cache lines that every forwarded packet touches. */
struct flow {
	struct flow_rule rule;
	struct flow_track track;
};

/*
 * Element of the map `ledgers`, at the same index: two lines that few packets touch. A map of its own, so
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
	REASON_PASS_NOT_IPV4 = 32,
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

enum event_type {
	EVENT_LEARNED = 1,
	EVENT_REJECTED = 2,
	EVENT_SSRC = 3,
	EVENT_RTCP = 4,
};

/* Record of the ring buffer `events`; always this size. */
struct event {
	__u64 time; /* ns, CLOCK_MONOTONIC */
	__u32 flow; /* index */
	__u32 generation;
	__u8 type;	  /* enum event_type */
	__u8 reason;	  /* enum reason, of EVENT_REJECTED */
	__u16 length;	  /* bytes of payload in use */
	__u32 ssrc;	  /* of EVENT_SSRC: the new one */
	__u8 address[16]; /* source; IPv4 as ::ffff:a.b.c.d */
	__be16 port;
	__u16 reserved[3];
	__u8 payload[EVENT_PAYLOAD]; /* of EVENT_RTCP: the first bytes of the compound packet */
};

/* Constant for the life of a loaded program; the map `config` is frozen. */
struct relay_config {
	__u32 layout;
	__u32 address_count;
	__u16 port_min; /* first and last UDP port of the media range */
	__u16 port_max;
	__u32 reserved;
	/* The slot of an address is its first place here; unused places hold the first address. */
	__be32 addresses[RELAY_ADDRESSES];
};

#endif
