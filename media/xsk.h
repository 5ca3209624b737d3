/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * AF_XDP sockets: a receive queue of an interface, as memory shared with the kernel. Several workers may each
 * have one of the same queue. Then they share the memory, the ring of free frames and that of frames sent;
 * each has rings of its own for what it is given and for what it sends. Who opens one needs CAP_NET_RAW; who
 * uses it needs nothing but the descriptors of the socket and of the memory, once.
 *
 * A worker that dies leaves nothing undone: its socket and rings outlive it, and what else its successor must
 * know lies in the memory.
 */
#ifndef VOXDP_XSK_H
#define VOXDP_XSK_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/types.h>

#define XSK_FRAME   2048 /* bytes: WIRE_FRAME, the room that XDP leaves before it, SRTP_TRAILER behind it */
#define XSK_PENDING 4096 /* frames that a worker can have at most: all that its queue has to receive with */
#define XSK_SEATS   64	 /* most workers of a queue */

/* How the memory of a queue is divided among the workers that share it. */
struct xsk_plan {
	__u32 seats;
	__u32 receiving;  /* frames that the kernel may fill */
	__u32 own;	  /* of them, how many may wait for one worker: a slow one leaves the others theirs */
	__u32 sending;	  /* frames of each worker to send with */
	__u32 completing; /* places for those of all */
};

/* A ring of `size` places; its own side's index is kept here too, so that the kernel's is read rarely. */
struct xsk_ring {
	__u32 *producer, *consumer, *flags;
	void *places;
	__u32 size;
	__u32 mine;   /* next place for us */
	__u32 theirs; /* as last seen */
};

/* Behind the frames, for who shares them. */
struct xsk_common {
	__u32 holder;  /* seat + 1 of who is at `fill` or `complete` right now, 0: nobody */
	__u8 frames[]; /* of those to receive with: seat + 1 of who has it in hand; to send with: on its way
			*/
};

struct xsk {
	int descriptor;
	struct xsk_plan plan;
	__u32 seat;
	__u8 *memory;
	struct xsk_common *common;
	struct xsk_ring receive, send, fill, complete;
	__u32 next;		    /* of our frames to send with, the one used longest ago */
	__u32 pending[XSK_PENDING]; /* frames that are to be given back */
	__u32 pending_count;
};

/* A frame that came. */
struct xsk_frame {
	__u8 *data;
	size_t length;
	__u64 place; /* to give back */
};

struct xsk_plan xsk_plan(unsigned seats);

/* Of the memory's file. */
size_t xsk_bytes(unsigned seats);

/*
 * Opens a socket on a receive queue for one of `seats` workers. first: one that is open on it already, -1:
 * this is the first, on a new memory file of xsk_bytes. *zero_copy: whether the driver shares the memory.
 * Returns the descriptor, or an errno as a negative number; -EINVAL: there is no such queue.
 */
int xsk_open(unsigned ifindex, unsigned queue, unsigned seats, int first, int memory, int *zero_copy);

/*
 * Maps an open socket and its memory; both descriptors stay the caller's. Whatever a process that had this
 * seat before has left is taken over. 0 or -1 with errno.
 */
int xsk_attach(struct xsk *xsk, int descriptor, int memory, unsigned seats, unsigned seat);

void xsk_detach(struct xsk *xsk);

/* Up to `most` frames that have come; to be given back by xsk_give, all of them and in any order. */
unsigned xsk_take(struct xsk *xsk, struct xsk_frame *frames, unsigned most);
void xsk_give(struct xsk *xsk, const struct xsk_frame *frames, unsigned count);

/* Room for a frame of up to XSK_FRAME bytes; NULL: all are on their way. xsk_put sends what xsk_room gave. */
__u8 *xsk_room(struct xsk *xsk);
void xsk_put(struct xsk *xsk, size_t length);

/* Has the kernel send what was put; false: not all of it yet. */
bool xsk_kick(struct xsk *xsk);

/* Packets for which the kernel found no frame, or no place in the ring. */
__u64 xsk_dropped(const struct xsk *xsk);

#endif
