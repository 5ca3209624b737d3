/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The wires of a worker: AF_XDP sockets, each on one receive queue of one interface. What leaves by a wire
 * needs a flow whose next hop is known, for no routing table is asked.
 */
#ifndef VOXDP_WIRE_H
#define VOXDP_WIRE_H

#include "flow_slot.h"
#include "worker_page.h"
#include "xsk.h"

struct wire {
	struct xsk xsk;
	struct engine_wire *page; /* what it is, and its counters */
};

struct wires {
	struct wire wires[ENGINE_WIRES];
	unsigned count;
	__u16 identity; /* of the last IPv4 datagram */
};

/* Takes over descriptor and memory file of an open socket. 0, or -1 with errno: all is closed. */
int wires_add(struct wires *wires, struct engine_wire *page, int descriptor, int memory);

/* The wire that an event of epoll is about, NULL: of none. */
struct wire *wires_find(struct wires *wires, const void *what);

/* Closes one, as its interface is gone, or all. */
void wires_drop(struct wires *wires, struct wire *wire);
void wires_drop_all(struct wires *wires);

/*
 * Puts a datagram to the flow's target on a wire; false: there is no wire to its next hop, or no room, so
 * that the host's stack has to send it. wires_kick is to follow.
 */
bool wires_send(struct wires *wires, const struct flow_slot *slot, const __u8 *data, size_t length, __u8 ttl,
		__u8 tos);

/* Brings `dropped` of all their pages up to date. */
void wires_count_dropped(const struct wires *wires);

/* Has the kernel send what was put on any of them; false: not all of it yet, to be called again soon. */
bool wires_kick(struct wires *wires);

#endif
