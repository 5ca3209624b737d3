/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One AF_XDP socket: a receive queue of an interface, as memory shared with the kernel. Who opens it needs
 * CAP_NET_RAW; who uses it needs nothing but the descriptors of the socket and of the memory, once.
 */
#ifndef VOXDP_XSK_H
#define VOXDP_XSK_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/types.h>

#define XSK_FRAME     2048 /* bytes: WIRE_FRAME, the room that XDP leaves before it, SRTP_TRAILER behind it */
#define XSK_RECEIVING 2048 /* frames that the kernel may fill */
#define XSK_SENDING   1024
#define XSK_MEMORY    ((XSK_RECEIVING + XSK_SENDING) * XSK_FRAME) /* bytes of the memory's file */

/* A ring of `size` places; its own side's index is kept here too, so that the kernel's is read rarely. */
struct xsk_ring {
	__u32 *producer, *consumer, *flags;
	void *places;
	__u32 size;
	__u32 mine;   /* next place for us */
	__u32 theirs; /* as last seen */
};

struct xsk {
	int descriptor;
	__u8 *memory;
	struct xsk_ring receive, send, fill, complete;
	__u32 spare[XSK_SENDING]; /* numbers of frames to send with */
	unsigned spares;
};

/* A frame that came. */
struct xsk_frame {
	__u8 *data;
	size_t length;
	__u64 place; /* to give back */
};

/*
 * Opens a socket on a receive queue, on a memory file of XSK_MEMORY bytes; *zero_copy: whether the driver
 * shares the memory. Returns the descriptor, or an errno as a negative number; -EINVAL: there is no such
 * queue.
 */
int xsk_open(unsigned ifindex, unsigned queue, int memory, int *zero_copy);

/* Maps an open socket and its memory; both descriptors stay the caller's. 0 or -1 with errno. */
int xsk_attach(struct xsk *xsk, int descriptor, int memory);

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
