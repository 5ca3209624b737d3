/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the headers are and whether they agree. A step returns GO_ON or the reason to stop. The fixed places
 * are those of IPv4 without options and without tags, which the express way asks for.
 */
#ifndef VOXDP_PARSE_H
#define VOXDP_PARSE_H

#define TYPE_OFFSET	 12
#define IP_OFFSET	 14
#define SOURCE_OFFSET	 26
#define UDP_OFFSET	 34
#define PAYLOAD_OFFSET	 42
#define RTP_SHORTEST	 (PAYLOAD_OFFSET + sizeof(struct rtp_header))
#define WORD_TYPE(frame) (*(__u32 *)((frame) + TYPE_OFFSET)) /* EtherType, IP version and length, TOS */
#define TOS_SHIFT	 24				     /* of WORD_TYPE, as memory has it */
#define IP_FRAGMENTED	 0x3fff				     /* more fragments, or an offset */
#define TAGS		 2				     /* VLAN tags that are looked through */
#define EXTENSIONS	 4				     /* IPv6 extension headers likewise */
#define NETWORK_MAX	 63				     /* bounds for the verifier, beyond any place */
#define TRANSPORT_MAX	 0x3fff
#define EXTENSION_UNIT	 8
#define TRAFFIC_CLASS(word)                                                                                  \
	(bpf_ntohl(word) >> 20) /* of the first word of an IPv6 header, with the version */

struct vlan_tag {
	__be16 control;
	__be16 type; /* of what follows */
};

/* The beginning of those IPv6 extension headers that may be walked. */
struct extension {
	__u8 next;
	__u8 units; /* less one */
	__u8 type;
	__u8 segments_left; /* of a routing header */
};

static __always_inline struct iphdr *ip_of(void *frame)
{
	return frame + IP_OFFSET;
}

static __always_inline struct udphdr *udp_of(void *frame)
{
	return frame + UDP_OFFSET;
}

static __always_inline void *frame_of(const struct xdp_md *ctx)
{
	return (void *)(long)ctx->data;
}

static __always_inline __u32 frame_length(const struct xdp_md *ctx)
{
	return ctx->data_end - ctx->data;
}

/* Does the frame hold that many bytes? Asked anew where more is to be read: a pointer is dearer to keep. */
static __always_inline bool holds(const struct xdp_md *ctx, void *frame, __u32 bytes)
{
	return frame + bytes <= (void *)(long)ctx->data_end;
}

/* The place of the UDP header, and of its payload, if the frame holds so many bytes from there; else NULL. */
static __always_inline void *transport_of(const struct xdp_md *ctx, const struct passage *passage,
					  __u32 bytes)
{
	void *transport = frame_of(ctx) + (passage->transport & TRANSPORT_MAX);

	return holds(ctx, transport, bytes) ? transport : NULL;
}

/* Slot of a relay address, RELAY_ADDRESSES if it is none. Places of IPv6 addresses hold 0 here. */
static __always_inline __u32 address_slot(__be32 address)
{
#pragma unroll
	for (__u32 slot = 0; slot < RELAY_ADDRESSES; slot++) {
		if (address == config.ipv4[slot])
			return slot;
	}
	return RELAY_ADDRESSES;
}

/* IPv4 addresses have no place among those: written as IPv6, they are nobody's on the wire. */
static __always_inline __u32 address_slot6(const __be32 *address)
{
#pragma unroll
	for (__u32 slot = 0; slot < RELAY_ADDRESSES; slot++) {
		if (!config.ipv4[slot] && address[3] == config.addresses[slot][3] &&
		    address[2] == config.addresses[slot][2] && address[1] == config.addresses[slot][1] &&
		    address[0] == config.addresses[slot][0])
			return slot;
	}
	return RELAY_ADDRESSES;
}

static __always_inline bool is_media_port(__u32 port)
{
	__u32 first = config.port_min;

	return port - first <= config.port_max - first;
}

static __always_inline bool is_tag(__be16 type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

/* Looks through the VLAN tags. Sets the place of the IP header, and which of the two it is to be. */
static __always_inline enum reason find_network(const struct xdp_md *ctx, struct passage *passage)
{
	void *frame = frame_of(ctx);
	__u32 network = IP_OFFSET;
	__be16 type;

	if (!holds(ctx, frame, IP_OFFSET))
		return REASON_PASS_NOT_IP;
	type = *(__be16 *)(frame + TYPE_OFFSET);
#pragma unroll
	for (int tags = 0; tags < TAGS && is_tag(type); tags++) {
		if (!holds(ctx, frame, network + sizeof(struct vlan_tag)))
			return REASON_PASS_NOT_IP;
		type = ((struct vlan_tag *)(frame + network))->type;
		network += sizeof(struct vlan_tag);
	}
	passage->network = network;
	passage->ipv6 = type == bpf_htons(ETH_P_IPV6);
	return passage->ipv6 || type == bpf_htons(ETH_P_IP) ? GO_ON : REASON_PASS_NOT_IP;
}

/* Is it UDP to a relay address? Sets slot and the place of the UDP header; its source too. */
static __always_inline enum reason find_ipv4(const struct xdp_md *ctx, struct passage *passage, __u32 *slot)
{
	const struct iphdr *ip = frame_of(ctx) + (passage->network & NETWORK_MAX);

	if (!holds(ctx, (void *)ip, sizeof(*ip)) || ip->version != 4 || ip->ihl < 5)
		return REASON_PASS_NOT_IP;
	*slot = ip->daddr ? address_slot(ip->daddr) : RELAY_ADDRESSES;
	if (*slot >= RELAY_ADDRESSES)
		return REASON_PASS_NOT_OURS;
	passage->ours = true;
	map_address(passage->source, ip->saddr);
	passage->tos = ip->tos;
	passage->ttl = ip->ttl;
	passage->transport = passage->network + ip->ihl * 4;
	if (ip->protocol != IPPROTO_UDP)
		return REASON_PASS_NOT_UDP;
	return ip->frag_off & bpf_htons(IP_FRAGMENTED) ? REASON_PASS_FRAGMENT : GO_ON;
}

/*
 * Walks the extension headers from `place`, the first being a `next`. A hop-by-hop header is the first or
 * none; a routing header is to have come to its end. As others that are not static, it is verified by itself,
 * once.
 */
__noinline int walk_extensions(struct xdp_md *ctx, struct passage *passage, __u8 next)
{
	void *frame = frame_of(ctx);
	__u32 place;

	if (!passage)
		return REASON_PASS_NOT_IP;
	place = passage->transport;

	for (int walked = 0; next != IPPROTO_UDP; walked++) {
		const struct extension *extension = frame + (place & TRANSPORT_MAX);

		if (next == IPPROTO_FRAGMENT)
			return REASON_PASS_FRAGMENT;
		if (next != IPPROTO_DSTOPTS && next != IPPROTO_ROUTING && (next != IPPROTO_HOPOPTS || walked))
			return REASON_PASS_NOT_UDP;
		if (walked == EXTENSIONS)
			return REASON_EXTENSIONS;
		if (!holds(ctx, (void *)extension, EXTENSION_UNIT))
			return REASON_PASS_NOT_OURS;
		if (next == IPPROTO_ROUTING && extension->segments_left)
			return REASON_PASS_NOT_OURS;
		place += (extension->units + 1) * EXTENSION_UNIT;
		next = extension->next;
	}
	passage->transport = place;
	return GO_ON;
}

static __always_inline enum reason find_ipv6(struct xdp_md *ctx, struct passage *passage, __u32 *slot)
{
	const struct ipv6hdr *ip = frame_of(ctx) + (passage->network & NETWORK_MAX);

	if (!holds(ctx, (void *)ip, sizeof(*ip)) || ip->version != 6)
		return REASON_PASS_NOT_IP;
	*slot = address_slot6(ip->daddr.in6_u.u6_addr32);
	if (*slot >= RELAY_ADDRESSES)
		return REASON_PASS_NOT_OURS;
	passage->ours = true;
	copy_address(passage->source, &ip->saddr);
	passage->tos = TRAFFIC_CLASS(*(const __be32 *)ip);
	passage->ttl = ip->hop_limit;
	passage->transport = passage->network + sizeof(*ip);
	return likely(ip->nexthdr == IPPROTO_UDP) ? GO_ON : walk_extensions(ctx, passage, ip->nexthdr);
}

/* Is it to the media range? Everything else is passed untouched. */
static __always_inline enum reason find_port(struct xdp_md *ctx, struct passage *passage)
{
	const struct udphdr *udp;
	__u32 slot = RELAY_ADDRESSES, port;
	enum reason reason;

	reason = passage->ipv6 ? find_ipv6(ctx, passage, &slot) : find_ipv4(ctx, passage, &slot);
	if (reason != GO_ON)
		return reason;
	udp = transport_of(ctx, passage, sizeof(*udp));
	if (!udp)
		return REASON_PASS_NOT_OURS;
	port = bpf_ntohs(udp->dest);
	if (!is_media_port(port))
		return REASON_PASS_NOT_OURS;
	passage->source_port = udp->source;
	passage->index = slot * FLOWS_PER_ADDRESS + port;
	return GO_ON;
}

/* Both, from the first byte to the index of a flow; by itself, so that one way leads on from here. */
__noinline int locate(struct xdp_md *ctx, struct passage *passage)
{
	enum reason reason;

	if (!passage)
		return REASON_PASS_NOT_IP;
	reason = find_network(ctx, passage);
	return reason != GO_ON ? reason : find_port(ctx, passage);
}

/* Where the IP packet ends by its own account. */
static __always_inline __u32 network_end(const struct passage *passage, const void *network)
{
	if (passage->ipv6)
		return passage->network + sizeof(struct ipv6hdr) +
		       bpf_ntohs(((const struct ipv6hdr *)network)->payload_len);
	return passage->network + bpf_ntohs(((const struct iphdr *)network)->tot_len);
}

/* Do the headers agree with each other and with the frame? A frame may be longer: Ethernet pads. */
static __always_inline enum reason check_headers(const struct xdp_md *ctx, struct passage *passage)
{
	const void *network = frame_of(ctx) + (passage->network & NETWORK_MAX);
	const struct udphdr *udp = transport_of(ctx, passage, sizeof(*udp));
	__u32 datagram, end;

	if (!udp || !holds(ctx, (void *)network, sizeof(struct iphdr)))
		return REASON_SHORT;
	if (!passage->ipv6 && passage->transport != passage->network + sizeof(struct iphdr))
		return REASON_OPTIONS;
	if (passage->ttl <= 1)
		return REASON_TTL;
	datagram = bpf_ntohs(udp->len);
	end = network_end(passage, network);
	if (end > passage->length || datagram < sizeof(*udp) || end != passage->transport + datagram)
		return REASON_BAD_LENGTH;
	if (!udp->source)
		return REASON_BAD_SOURCE_PORT;
	if (passage->ipv6 && !udp->check)
		return REASON_BAD_CHECKSUM;
	passage->payload = datagram - sizeof(*udp);
	return GO_ON;
}

#endif
