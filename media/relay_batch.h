/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Buffers of a worker for recvmmsg and sendmmsg: made once, reused for every socket. Needs _GNU_SOURCE. */
#ifndef VOXDP_RELAY_BATCH_H
#define VOXDP_RELAY_BATCH_H

#include <sys/socket.h>

#include "address.h"
#include "srtp.h"

#define BATCH	     32
#define PACKET_BYTES 2048 /* longer datagrams are no voice or video packet of ours: dropped and counted */

/* Room for TTL and type of service, or hop limit and traffic class, of a datagram that came. */
union relay_control {
	struct cmsghdr align;
	__u8 bytes[2 * CMSG_SPACE(sizeof(int))];
};

struct relay_batch {
	struct mmsghdr in[BATCH];
	struct mmsghdr out[BATCH];
	struct iovec in_data[BATCH];
	struct iovec out_data[BATCH];
	union socket_address source[BATCH];
	union relay_control in_control[BATCH];
	__u8 data[BATCH][PACKET_BYTES + SRTP_TRAILER];
	__u8 made[BATCH][PACKET_BYTES + SRTP_TRAILER]; /* packets of our own */
};

/* A datagram as it came in; behind it is room for SRTP_TRAILER bytes. */
struct relay_packet {
	__u8 *data;
	size_t length;
	const union socket_address *source;
	__u8 ttl;
	__u8 tos;
	bool truncated;
};

void relay_batch_init(struct relay_batch *batch);

/* Receives up to `most` datagrams, at most BATCH, without waiting; returns how many. */
unsigned relay_batch_receive(struct relay_batch *batch, int socket, unsigned most);

/* Takes datagram `index` out of the batch; its place is ready to be received into again. */
struct relay_packet relay_batch_packet(struct relay_batch *batch, unsigned index);

/* Makes place `index` of the outgoing batch a datagram to `target`; the data is not copied. */
void relay_batch_put(struct relay_batch *batch, unsigned index, const __u8 *data, size_t length,
		     const union socket_address *target);

/* Sends out[first] to out[count - 1]; returns how many the host took before it refused one. */
unsigned relay_batch_send(struct relay_batch *batch, int socket, unsigned first, unsigned count);

#endif
