/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From frame to port: a cursor that never leaves the frame, and the steps that find out whether a frame is
 * ours, then whether its headers agree. A step returns GO_ON or the reason to stop.
 */
#ifndef VOXDP_PARSE_H
#define VOXDP_PARSE_H

#define GO_ON	       REASON_FORWARDED
#define PLAIN_IPV4     0x45   /* version 4, five words of header: no options */
#define IP_FRAGMENTED  0x3fff /* more fragments, or an offset */
#define IHL_MASK       0x0f
#define SOURCE_OFFSET  (sizeof(struct ethhdr) + __builtin_offsetof(struct iphdr, saddr))
#define UDP_OFFSET     (sizeof(struct ethhdr) + sizeof(struct iphdr))
#define PAYLOAD_OFFSET (UDP_OFFSET + sizeof(struct udphdr))

/* The part of a frame that is still to be read. */
struct cursor {
	void *at;
	void *end;
};

/*
 * What the steps learned of a packet. All pointers are constant offsets from the frame's beginning, which is
 * what lets the compiler keep a single register for them.
 */
struct packet {
	struct cursor cursor;
	struct ethhdr *eth;
	struct iphdr *ip;
	struct udphdr *udp;
	__u64 now;   /* ns, CLOCK_MONOTONIC */
	__u32 index; /* of the flow */
};

static __always_inline struct cursor whole_frame(const struct xdp_md *ctx)
{
	return (struct cursor){(void *)(long)ctx->data, (void *)(long)ctx->data_end};
}

static __always_inline __u32 frame_length(const struct xdp_md *ctx)
{
	return ctx->data_end - ctx->data;
}

/* Moves on by `bytes` and gives what was passed; false at the end of the frame. */
static __always_inline bool take(struct cursor *cursor, __u32 bytes, void *taken)
{
	if (cursor->at + bytes > cursor->end)
		return false;
	*(void **)taken = cursor->at;
	cursor->at += bytes;
	return true;
}

/* Slot of a relay address, RELAY_ADDRESSES if it is none. The verifier cuts the unused rounds away. */
static __always_inline __u32 address_slot(__be32 address)
{
#pragma unroll
	for (__u32 slot = 0; slot < RELAY_ADDRESSES; slot++) {
		if (slot >= config.address_count)
			break;
		if (address == config.addresses[slot])
			return slot;
	}
	return RELAY_ADDRESSES;
}

/* The steps up to the IPv4 header's fixed part. */
static __always_inline enum reason find_ip(struct packet *packet)
{
	if (!take(&packet->cursor, sizeof(*packet->eth), &packet->eth))
		return REASON_PASS_NOT_IPV4;
	if (packet->eth->h_proto != bpf_htons(ETH_P_IP))
		return REASON_PASS_NOT_IPV4;
	if (!take(&packet->cursor, sizeof(*packet->ip), &packet->ip))
		return REASON_PASS_NOT_IPV4;
	return GO_ON;
}

/* Is it UDP to the media range of a relay address? `options`: bytes between the IP and the UDP header. */
static __always_inline enum reason find_port(struct packet *packet, __u32 options)
{
	void *skipped;
	__u32 slot;
	__u16 port;

	if (packet->ip->protocol != IPPROTO_UDP)
		return REASON_PASS_NOT_UDP;
	slot = address_slot(packet->ip->daddr);
	if (slot >= RELAY_ADDRESSES)
		return REASON_PASS_NOT_OURS;
	if (packet->ip->frag_off & bpf_htons(IP_FRAGMENTED))
		return REASON_PASS_FRAGMENT;
	if (!take(&packet->cursor, options, &skipped))
		return REASON_PASS_NOT_OURS;
	if (!take(&packet->cursor, sizeof(*packet->udp), &packet->udp))
		return REASON_PASS_NOT_OURS;
	port = bpf_ntohs(packet->udp->dest);
	if (port < config.port_min || port > config.port_max)
		return REASON_PASS_NOT_OURS;
	packet->index = slot * FLOWS_PER_ADDRESS + port;
	return GO_ON;
}

/* Do the headers agree with each other and with the frame? A frame may be longer: Ethernet pads. */
static __always_inline enum reason check_headers(const struct packet *packet)
{
	__u32 room = packet->cursor.end - (void *)packet->ip;
	__u32 total = bpf_ntohs(packet->ip->tot_len);
	__u32 datagram = bpf_ntohs(packet->udp->len);

	if (packet->ip->ttl <= 1)
		return REASON_TTL;
	if (total > room || datagram < sizeof(struct udphdr) || total != datagram + sizeof(struct iphdr))
		return REASON_BAD_LENGTH;
	if (!packet->udp->source)
		return REASON_BAD_SOURCE_PORT;
	return GO_ON;
}

/* UDP payload in bytes, once check_headers found the lengths to agree. */
static __always_inline __u32 payload_length(const struct packet *packet)
{
	return bpf_ntohs(packet->udp->len) - sizeof(struct udphdr);
}

#endif
