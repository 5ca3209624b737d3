/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "relay_batch.h"

#include <string.h>

#define TTL_UNKNOWN 64

static void reset_received(struct relay_batch *batch, unsigned index)
{
	batch->in[index].msg_hdr.msg_namelen = sizeof(batch->source[index]);
	batch->in[index].msg_hdr.msg_controllen = sizeof(batch->in_control[index]);
}

static void set_integer(struct cmsghdr *header, int type)
{
	header->cmsg_level = IPPROTO_IP;
	header->cmsg_type = type;
	header->cmsg_len = CMSG_LEN(sizeof(int));
}

void relay_batch_init(struct relay_batch *batch)
{
	memset(batch, 0, sizeof(*batch));
	for (unsigned i = 0; i < BATCH; i++) {
		struct msghdr *in = &batch->in[i].msg_hdr, *out = &batch->out[i].msg_hdr;

		batch->in_data[i] = (struct iovec){batch->data[i], PACKET_BYTES};
		in->msg_name = &batch->source[i];
		in->msg_iov = &batch->in_data[i];
		in->msg_iovlen = 1;
		in->msg_control = &batch->in_control[i];
		reset_received(batch, i);
		out->msg_iov = &batch->out_data[i];
		out->msg_iovlen = 1;
		out->msg_control = &batch->out_control[i];
		out->msg_controllen = sizeof(batch->out_control[i]);
		set_integer(CMSG_FIRSTHDR(out), IP_TTL);
		set_integer(CMSG_NXTHDR(out, CMSG_FIRSTHDR(out)), IP_TOS);
	}
}

unsigned relay_batch_receive(struct relay_batch *batch, int socket)
{
	int count = recvmmsg(socket, batch->in, BATCH, MSG_DONTWAIT, NULL);

	return count > 0 ? (unsigned)count : 0;
}

static void read_control(struct relay_packet *packet, struct msghdr *message)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		if (c->cmsg_level != IPPROTO_IP)
			continue;
		if (c->cmsg_type == IP_TOS)
			packet->tos = *CMSG_DATA(c);
		else if (c->cmsg_type == IP_TTL)
			packet->ttl = *(const int *)CMSG_DATA(c);
	}
}

struct relay_packet relay_batch_packet(struct relay_batch *batch, unsigned index)
{
	struct relay_packet packet = {
		.data = batch->data[index],
		.length = batch->in[index].msg_len,
		.address = batch->source[index].sin_addr.s_addr,
		.port = batch->source[index].sin_port,
		.ttl = TTL_UNKNOWN,
		.truncated = batch->in[index].msg_hdr.msg_flags & MSG_TRUNC,
	};

	read_control(&packet, &batch->in[index].msg_hdr);
	reset_received(batch, index);
	return packet;
}

void relay_batch_put(struct relay_batch *batch, unsigned index, const struct relay_packet *packet,
		     const struct sockaddr_in *target, __u8 tos)
{
	struct msghdr *message = &batch->out[index].msg_hdr;
	struct cmsghdr *ttl = CMSG_FIRSTHDR(message);
	struct cmsghdr *service = CMSG_NXTHDR(message, ttl);

	batch->out_data[index] = (struct iovec){(void *)packet->data, packet->length};
	message->msg_name = (void *)target;
	message->msg_namelen = sizeof(*target);
	*(int *)CMSG_DATA(ttl) = packet->ttl - 1;
	*(int *)CMSG_DATA(service) = tos;
}

unsigned relay_batch_send(struct relay_batch *batch, int socket, unsigned first, unsigned count)
{
	int sent = sendmmsg(socket, batch->out + first, count - first, MSG_DONTWAIT);

	return sent > 0 ? (unsigned)sent : 0;
}
