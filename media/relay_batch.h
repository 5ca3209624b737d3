/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Buffers of a worker for recvmmsg and sendmmsg: made once, reused for every socket. Needs _GNU_SOURCE. */
#ifndef VOXDP_RELAY_BATCH_H
#define VOXDP_RELAY_BATCH_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <linux/types.h>

#define BATCH	     32
#define PACKET_BYTES 2048 /* longer datagrams are no voice or video packet of ours: dropped and counted */

/* Room for the two integers IP_TTL and IP_TOS, either way. */
union relay_control {
	struct cmsghdr align;
	__u8 bytes[2 * CMSG_SPACE(sizeof(int))];
};

struct relay_batch {
	struct mmsghdr in[BATCH];
	struct mmsghdr out[BATCH];
	struct iovec in_data[BATCH];
	struct iovec out_data[BATCH];
	struct sockaddr_in source[BATCH];
	union relay_control in_control[BATCH];
	union relay_control out_control[BATCH];
	__u8 data[BATCH][PACKET_BYTES];
};

/* A datagram as it came in. */
struct relay_packet {
	const __u8 *data;
	__u32 length;
	__be32 address;
	__be16 port;
	__u8 ttl;
	__u8 tos;
	bool truncated;
};

void relay_batch_init(struct relay_batch *batch);

/* Receives up to BATCH datagrams without waiting; returns how many. */
unsigned relay_batch_receive(struct relay_batch *batch, int socket);

/* Takes datagram `index` out of the batch; its place is ready to be received into again. */
struct relay_packet relay_batch_packet(struct relay_batch *batch, unsigned index);

/* Makes place `index` of the outgoing batch a copy of `packet` to `target`; the payload is not copied. */
void relay_batch_put(struct relay_batch *batch, unsigned index, const struct relay_packet *packet,
		     const struct sockaddr_in *target, __u8 tos);

/* Sends out[first] to out[count - 1]; returns how many the host took before it refused one. */
unsigned relay_batch_send(struct relay_batch *batch, int socket, unsigned first, unsigned count);

#endif
