/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "relay_batch.h"

#include <string.h>

#define TTL_UNKNOWN 64

static void reset_received(struct relay_batch *batch, unsigned index)
{
	batch->in[index].msg_hdr.msg_namelen = sizeof(batch->source[index]);
	batch->in[index].msg_hdr.msg_controllen = sizeof(batch->in_control[index]);
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
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS)
			packet->tos = *CMSG_DATA(c);
		else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL)
			packet->ttl = (__u8) * (const int *)CMSG_DATA(c);
		else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS)
			packet->tos = (__u8) * (const int *)CMSG_DATA(c);
		else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_HOPLIMIT)
			packet->ttl = (__u8) * (const int *)CMSG_DATA(c);
	}
}

struct relay_packet relay_batch_packet(struct relay_batch *batch, unsigned index)
{
	struct relay_packet packet = {
		.data = batch->data[index],
		.length = batch->in[index].msg_len,
		.source = &batch->source[index],
		.ttl = TTL_UNKNOWN,
		.truncated = batch->in[index].msg_hdr.msg_flags & MSG_TRUNC,
	};

	read_control(&packet, &batch->in[index].msg_hdr);
	reset_received(batch, index);
	return packet;
}

static void set_integer(struct cmsghdr *header, int level, int type, int value)
{
	header->cmsg_level = level;
	header->cmsg_type = type;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	*(int *)CMSG_DATA(header) = value;
}

void relay_batch_put(struct relay_batch *batch, unsigned index, const __u8 *data, size_t length,
		     const union socket_address *target, __u8 ttl, __u8 tos)
{
	struct msghdr *message = &batch->out[index].msg_hdr;
	struct cmsghdr *first = CMSG_FIRSTHDR(message), *second;
	bool v6 = target->any.sa_family == AF_INET6;

	batch->out_data[index] = (struct iovec){(void *)data, length};
	message->msg_name = (void *)target;
	message->msg_namelen = address_length(target);
	set_integer(first, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_HOPLIMIT : IP_TTL, ttl);
	second = CMSG_NXTHDR(message, first);
	set_integer(second, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_TCLASS : IP_TOS, tos);
}

unsigned relay_batch_send(struct relay_batch *batch, int socket, unsigned first, unsigned count)
{
	int sent = sendmmsg(socket, batch->out + first, count - first, MSG_DONTWAIT);

	return sent > 0 ? (unsigned)sent : 0;
}
