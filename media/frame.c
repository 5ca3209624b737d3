/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "frame.h"

#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#define TAGS	   2
#define TAG_BYTES  4
#define FRAGMENTED 0x3fff /* more fragments, or an offset */

static __be16 read_be16(const __u8 *data)
{
	__be16 value;

	memcpy(&value, data, sizeof(value));
	return value;
}

/* Ones' complement sum of 16-bit words as they lie in memory (RFC 1071), not folded: in 64 bits none is lost.
 */
static __u64 sum(const __u8 *data, size_t length, __u64 total)
{
	__u32 word;

	for (; length >= sizeof(word); data += sizeof(word), length -= sizeof(word)) {
		memcpy(&word, data, sizeof(word));
		total += word;
	}
	word = 0;
	memcpy(&word, data, length);
	return total + word;
}

static __u16 folded(__u64 total)
{
	total = (total & 0xffffffff) + (total >> 32);
	total = (total & 0xffff) + (total >> 16 & 0xffff) + (total >> 32);
	total = (total & 0xffff) + (total >> 16);
	return (__u16)((total & 0xffff) + (total >> 16));
}

/* Of both addresses, which lie one behind the other in either family, the protocol and the datagram's length.
 */
static __u64 pseudo_header(const __u8 *addresses, size_t bytes, __be16 length)
{
	return sum(addresses, bytes, (__u64)htons(IPPROTO_UDP) + length);
}

/*
 * Right; or left for a card to complete, as senders on this host, in containers and in virtual machines do:
 * then the sum of the pseudo-header is all that is there, see docs/decisions/0012-partial-checksums.md.
 */
static bool is_intact(const __u8 *udp, size_t length, __u64 pseudo)
{
	__be16 check = read_be16(udp + offsetof(struct udphdr, check));

	return folded(sum(udp, length, pseudo)) == 0xffff || check == folded(pseudo);
}

static enum reason read_udp(__u8 *udp, size_t room, __u64 addresses, bool v6, struct frame *frame)
{
	struct udphdr header;
	size_t length;

	if (room < sizeof(header))
		return REASON_SHORT;
	memcpy(&header, udp, sizeof(header));
	length = ntohs(header.len);
	if (length < sizeof(header) || length != room)
		return REASON_BAD_LENGTH;
	if (!header.check && v6)
		return REASON_BAD_CHECKSUM;
	if (header.check && !is_intact(udp, length, addresses + header.len))
		return REASON_BAD_CHECKSUM;
	frame->payload = udp + sizeof(header);
	frame->length = length - sizeof(header);
	frame->port = ntohs(header.dest);
	frame->source.v4.sin_port = header.source; /* both families have it in the same place */
	return REASON_FORWARDED;
}

static enum reason read_ipv4(__u8 *data, size_t room, struct frame *frame)
{
	struct iphdr ip;
	size_t length;

	if (room < sizeof(ip))
		return REASON_SHORT;
	memcpy(&ip, data, sizeof(ip));
	if (ip.version != 4 || ip.ihl != sizeof(ip) / 4)
		return REASON_OPTIONS;
	if (ip.protocol != IPPROTO_UDP || ip.frag_off & htons(FRAGMENTED))
		return REASON_PASS_NOT_UDP;
	length = ntohs(ip.tot_len);
	if (length < sizeof(ip) || length > room)
		return REASON_BAD_LENGTH;
	frame->ttl = ip.ttl;
	frame->tos = ip.tos;
	memset(&frame->source, 0, sizeof(frame->source));
	frame->source.v4.sin_family = AF_INET;
	frame->source.v4.sin_addr.s_addr = ip.saddr;
	address_from_ipv4(ip.daddr, frame->local);
	return read_udp(data + sizeof(ip), length - sizeof(ip),
			pseudo_header(data + offsetof(struct iphdr, saddr), 8, 0), false, frame);
}

static enum reason read_ipv6(__u8 *data, size_t room, struct frame *frame)
{
	struct ipv6hdr ip;
	size_t length;

	if (room < sizeof(ip))
		return REASON_SHORT;
	memcpy(&ip, data, sizeof(ip));
	if (ip.version != 6 || ip.nexthdr != IPPROTO_UDP)
		return REASON_PASS_NOT_UDP;
	length = ntohs(ip.payload_len);
	if (length > room - sizeof(ip))
		return REASON_BAD_LENGTH;
	frame->ttl = ip.hop_limit;
	frame->tos = (__u8)(ip.priority << 4 | ip.flow_lbl[0] >> 4);
	memset(&frame->source, 0, sizeof(frame->source));
	frame->source.v6.sin6_family = AF_INET6;
	memcpy(&frame->source.v6.sin6_addr, &ip.saddr, 16);
	memcpy(frame->local, &ip.daddr, 16);
	return read_udp(data + sizeof(ip), length,
			pseudo_header(data + offsetof(struct ipv6hdr, saddr), 32, 0), true, frame);
}

static bool is_tag(__be16 type)
{
	return type == htons(ETH_P_8021Q) || type == htons(ETH_P_8021AD);
}

enum reason frame_read(__u8 *data, size_t length, struct frame *frame)
{
	size_t network = ETH_HLEN;
	__be16 type;

	if (length < ETH_HLEN)
		return REASON_SHORT;
	type = read_be16(data + offsetof(struct ethhdr, h_proto));
	for (int tags = 0; tags < TAGS && is_tag(type); tags++, network += TAG_BYTES) {
		if (length < network + TAG_BYTES)
			return REASON_SHORT;
		type = read_be16(data + network + 2);
	}
	if (type == htons(ETH_P_IP))
		return read_ipv4(data + network, length - network, frame);
	if (type == htons(ETH_P_IPV6))
		return read_ipv6(data + network, length - network, frame);
	return REASON_PASS_NOT_IP;
}

static __u8 *put(__u8 *to, const void *data, size_t bytes)
{
	memcpy(to, data, bytes);
	return to + bytes;
}

/* As bpf/rebuild.h has it: an outer tag of two is that of a provider. */
static __u8 *put_ethernet(__u8 *to, const struct engine_hop *hop, bool v6)
{
	bool twice = hop->vlan[0] && hop->vlan[1];
	__be16 outer[2] = {htons(twice ? ETH_P_8021AD : ETH_P_8021Q), htons(hop->vlan[0])};
	__be16 inner[2] = {htons(ETH_P_8021Q), htons(hop->vlan[1])};
	__be16 type = htons(v6 ? ETH_P_IPV6 : ETH_P_IP);

	to = put(to, hop->target_mac, sizeof(hop->target_mac));
	to = put(to, hop->egress_mac, sizeof(hop->egress_mac));
	if (hop->vlan[0])
		to = put(to, outer, sizeof(outer));
	if (twice)
		to = put(to, inner, sizeof(inner));
	return put(to, &type, sizeof(type));
}

static __u8 *put_ipv4(__u8 *to, const struct frame_head *head, size_t datagram)
{
	struct iphdr ip = {
		.version = 4,
		.ihl = sizeof(ip) / 4,
		.tos = head->tos,
		.tot_len = htons((__u16)(sizeof(ip) + datagram)),
		.id = htons(head->identity),
		.ttl = head->ttl,
		.protocol = IPPROTO_UDP,
		.daddr = head->target->v4.sin_addr.s_addr,
	};

	memcpy(&ip.saddr, head->source_address + 12, sizeof(ip.saddr));
	ip.check = (__u16)~folded(sum((const __u8 *)&ip, sizeof(ip), 0));
	return put(to, &ip, sizeof(ip));
}

static __u8 *put_ipv6(__u8 *to, const struct frame_head *head, size_t datagram)
{
	struct ipv6hdr ip = {
		.version = 6,
		.priority = head->tos >> 4,
		.flow_lbl = {(__u8)(head->tos << 4)},
		.payload_len = htons((__u16)datagram),
		.nexthdr = IPPROTO_UDP,
		.hop_limit = head->ttl,
	};

	memcpy(&ip.saddr, head->source_address, sizeof(ip.saddr));
	memcpy(&ip.daddr, &head->target->v6.sin6_addr, sizeof(ip.daddr));
	return put(to, &ip, sizeof(ip));
}

size_t frame_write(__u8 *room, const struct frame_head *head, const __u8 *payload, size_t length)
{
	bool v6 = head->target->any.sa_family == AF_INET6;
	size_t datagram = sizeof(struct udphdr) + length, addresses = v6 ? 32 : 8;
	struct udphdr udp = {
		.source = htons(head->source_port),
		.dest = address_port(head->target),
		.len = htons((__u16)datagram),
	};
	__u8 *place = put_ethernet(room, head->hop, v6), *body;
	__u64 total;

	place = v6 ? put_ipv6(place, head, datagram) : put_ipv4(place, head, datagram);
	total = pseudo_header(place - addresses, addresses, udp.len);
	body = place + sizeof(udp);
	memcpy(body, payload, length);
	total = sum((const __u8 *)&udp, sizeof(udp), total);
	udp.check = (__u16)~folded(sum(body, length, total));
	if (!udp.check)
		udp.check = 0xffff; /* 0 would say that there is none (RFC 768) */
	put(place, &udp, sizeof(udp));
	return (size_t)(body + length - room);
}
