/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the engine carries: to the AF_XDP socket of the queue it came by, or else to the flow's UDP socket. */
#ifndef VOXDP_HANDUP_H
#define VOXDP_HANDUP_H

/* The engine reads headers of fixed length; what has more of them, the host's stack takes apart. */
static __always_inline bool is_plain(const struct passage *passage)
{
	__u32 header = passage->ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);

	return passage->transport == passage->network + header && passage->length <= WIRE_FRAME;
}

/* The socket of the worker that has the flow, where it has one of this queue; else the queue's first. */
static __always_inline __u32 place_of(__u32 queue, __u8 seat)
{
	__u32 first = queue & 0xffff, place = (queue >> 16) + seat - 2;

	if (!seat || queue == first)
		return first;
	return bpf_map_lookup_elem(&wires, &place) ? place : first;
}

static __noinline int hand_up(struct xdp_md *ctx, const struct passage *passage, __u8 seat)
{
	struct wire_key key = {.ifindex = ctx->ingress_ifindex, .queue = ctx->rx_queue_index};
	const __u32 *queue;

	count(REASON_PASS_ENGINE, passage->length);
	if (seat == SEAT_STACK || !is_plain(passage))
		return XDP_PASS;
	queue = bpf_map_lookup_elem(&queues, &key);
	return queue ? bpf_redirect_map(&wires, place_of(*queue, seat), XDP_PASS) : XDP_PASS;
}

#endif
