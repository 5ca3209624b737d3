/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From frame to port: a cursor that never leaves the frame, and the steps that find out whether a frame is
 * ours, then whether its headers agree. A step returns GO_ON or the reason to stop.
 */
#ifndef VOXDP_PARSE_H
#define VOXDP_PARSE_H

#define GO_ON	       REASON_FORWARDED
#define IHL_PLAIN      5
#define PAYLOAD_OFFSET (sizeof(struct ethhdr) + sizeof(struct iphdr) + sizeof(struct udphdr))
#define IP_FRAGMENTED  0x3fff /* more fragments, or an offset */

struct cursor {
	void *at;
	void *end;
};

/* What the steps learned of the packet. Lengths in bytes; the fields are host order but where they are __be.
 */
struct packet {
	struct cursor payload; /* begins at the payload once check_headers went on */
	struct ethhdr *eth;
	struct iphdr *ip;
	struct udphdr *udp;
	__u64 now;
	__u32 frame_length;
	__u32 payload_length;
	__u32 index; /* of the flow */
	__be32 source_address;
	__be16 source_port;
};

static __always_inline void *take(struct cursor *cursor, __u32 bytes)
{
	void *taken = cursor->at;

	if (taken + bytes > cursor->end)
		return NULL;
	cursor->at = taken + bytes;
	return taken;
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

/* The UDP header behind IP options, if the frame holds it. */
static __always_inline struct udphdr *behind_options(struct cursor *cursor, const struct iphdr *ip)
{
	take(cursor, (ip->ihl - IHL_PLAIN) * 4 & 0x3c);
	return take(cursor, sizeof(struct udphdr));
}

static __always_inline struct udphdr *take_udp(struct cursor *cursor, const struct iphdr *ip)
{
	if (unlikely(ip->ihl != IHL_PLAIN))
		return behind_options(cursor, ip);
	return take(cursor, sizeof(struct udphdr));
}

/* Is it UDP to the media range of a relay address? Everything else is passed untouched. */
static __always_inline enum reason find_port(struct packet *packet)
{
	struct cursor *cursor = &packet->payload;
	__u32 slot;
	__u16 port;

	packet->eth = take(cursor, sizeof(*packet->eth));
	if (!packet->eth || packet->eth->h_proto != bpf_htons(ETH_P_IP))
		return REASON_PASS_NOT_IPV4;
	packet->ip = take(cursor, sizeof(*packet->ip));
	if (!packet->ip || packet->ip->version != 4 || packet->ip->ihl < IHL_PLAIN)
		return REASON_PASS_NOT_IPV4;
	if (packet->ip->protocol != IPPROTO_UDP)
		return REASON_PASS_NOT_UDP;
	slot = address_slot(packet->ip->daddr);
	if (slot >= RELAY_ADDRESSES)
		return REASON_PASS_NOT_OURS;
	if (packet->ip->frag_off & bpf_htons(IP_FRAGMENTED))
		return REASON_PASS_FRAGMENT;
	packet->udp = take_udp(cursor, packet->ip);
	if (!packet->udp)
		return REASON_PASS_NOT_OURS;
	port = bpf_ntohs(packet->udp->dest);
	if (port < config.port_min || port > config.port_max)
		return REASON_PASS_NOT_OURS;
	packet->index = slot * FLOWS_PER_ADDRESS + port;
	return GO_ON;
}

/* Do the headers agree with each other and with the frame? A frame may be longer: Ethernet pads. */
static __always_inline enum reason check_headers(struct packet *packet)
{
	__u32 frame = packet->frame_length - sizeof(struct ethhdr);
	__u32 total = bpf_ntohs(packet->ip->tot_len);
	__u32 datagram = bpf_ntohs(packet->udp->len);

	if (packet->ip->ihl != IHL_PLAIN)
		return REASON_OPTIONS;
	if (packet->ip->ttl <= 1)
		return REASON_TTL;
	if (total > frame || datagram < sizeof(struct udphdr) || total != datagram + sizeof(struct iphdr))
		return REASON_BAD_LENGTH;
	if (!packet->udp->source)
		return REASON_BAD_SOURCE_PORT;
	packet->payload_length = datagram - sizeof(struct udphdr);
	packet->source_address = packet->ip->saddr;
	packet->source_port = packet->udp->source;
	return GO_ON;
}

#endif
