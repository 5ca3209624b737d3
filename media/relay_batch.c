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
	}
}

/* For one datagram recvmmsg would look a second time. */
static int receive_one(struct mmsghdr *message, int socket)
{
	ssize_t length = recvmsg(socket, &message->msg_hdr, MSG_DONTWAIT);

	message->msg_len = length < 0 ? 0 : (unsigned)length;
	return length < 0 ? 0 : 1;
}

unsigned relay_batch_receive(struct relay_batch *batch, int socket, unsigned most)
{
	int count = most == 1 ? receive_one(batch->in, socket)
			      : recvmmsg(socket, batch->in, most, MSG_DONTWAIT, NULL);

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

void relay_batch_put(struct relay_batch *batch, unsigned index, const __u8 *data, size_t length,
		     const union socket_address *target)
{
	struct msghdr *message = &batch->out[index].msg_hdr;

	batch->out_data[index] = (struct iovec){(void *)data, length};
	message->msg_name = (void *)target;
	message->msg_namelen = address_length(target);
}

unsigned relay_batch_send(struct relay_batch *batch, int socket, unsigned first, unsigned count)
{
	const struct msghdr *one = &batch->out[first].msg_hdr;
	int sent;

	if (first + 1 == count)
		return sendto(socket, one->msg_iov->iov_base, one->msg_iov->iov_len, MSG_DONTWAIT,
			      one->msg_name, one->msg_namelen) >= 0;
	sent = sendmmsg(socket, batch->out + first, count - first, MSG_DONTWAIT);
	return sent > 0 ? (unsigned)sent : 0;
}
