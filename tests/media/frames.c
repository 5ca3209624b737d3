/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Frames written and read: in both families, with tags, with checksums that are right, wrong and left undone.
 */
#include <stdio.h>
#include <string.h>

#include "frame.h"

#define REQUIRE(what)                                                                                        \
	do {                                                                                                 \
		if (!(what)) {                                                                               \
			printf("%s:%d: %s is false\n", __FILE__, __LINE__, #what);                           \
			return 1;                                                                            \
		}                                                                                            \
	} while (0)

static const __u8 payload[] = "an odd number of bytes";
static const __u8 own4[16] = {[10] = 0xff, 0xff, 192, 0, 2, 1}, own6[16] = {0x20, 1, 0xd, 0xb8, [15] = 1};
static const __u8 peer4[16] = {[10] = 0xff, 0xff, 203, 0, 113, 9}, peer6[16] = {0x20, 1, 0xd, 0xb8, [15] = 9};

static size_t build(__u8 *room, const __u8 *own, const __u8 *peer, __u16 outer, __u16 inner)
{
	struct engine_hop hop = {
		.ifindex = 1, .target_mac = "target", .egress_mac = "egress", .vlan = {outer, inner}};
	union socket_address target;
	struct frame_head head = {.hop = &hop,
				  .source_address = own,
				  .target = &target,
				  .source_port = 10002,
				  .identity = 5,
				  .ttl = 63,
				  .tos = 0xb8};

	address_to_socket(peer, htons(4000), &target);
	return frame_write(room, &head, payload, sizeof(payload));
}

static int there_and_back(const __u8 *own, const __u8 *peer, __u16 outer, __u16 inner, size_t wanted)
{
	__u8 room[FRAME_HEAD + sizeof(payload) + 20] = {0};
	size_t length = build(room, own, peer, outer, inner);
	struct frame frame;
	__u8 source[16];

	REQUIRE(length == wanted);
	REQUIRE(!memcmp(room, "targetegress", 12));
	REQUIRE(frame_read(room, length, &frame) == REASON_FORWARDED);
	address_from_socket(&frame.source, source);
	REQUIRE(!memcmp(source, own, 16) && address_port(&frame.source) == htons(10002));
	REQUIRE(!memcmp(frame.local, peer, 16) && frame.port == 4000);
	REQUIRE(frame.ttl == 63 && frame.tos == 0xb8);
	REQUIRE(frame.length == sizeof(payload) && !memcmp(frame.payload, payload, sizeof(payload)));
	REQUIRE(frame_read(room, sizeof(room), &frame) == REASON_FORWARDED); /* Ethernet pads */
	for (size_t shorter = 0; shorter < length; shorter++)
		REQUIRE(frame_read(room, shorter, &frame) != REASON_FORWARDED);
	room[length - 1] ^= 1;
	REQUIRE(frame_read(room, length, &frame) == REASON_BAD_CHECKSUM);
	return 0;
}

static int tags(void)
{
	static const __u8 twice[] = {0x88, 0xa8, 0, 100, 0x81, 0, 0, 200, 8, 0},
			  once[] = {0x81, 0, 0x0f, 0xfe, 8, 0};
	__u8 room[FRAME_HEAD + sizeof(payload)];

	build(room, own4, peer4, 100, 200);
	REQUIRE(!memcmp(room + 12, twice, sizeof(twice)));
	build(room, own4, peer4, 4094, 0);
	REQUIRE(!memcmp(room + 12, once, sizeof(once)));
	return 0;
}

/* The field as a sender leaves it for a card: the sum of the pseudo-header; or, in IPv4 alone, nothing. */
static int checksums(void)
{
	__u8 room[FRAME_HEAD + sizeof(payload)];
	size_t length = build(room, own4, peer4, 0, 0), udp = 14 + 20;
	const __u8 *addresses = room + 14 + 12;
	unsigned sum = 17 + 8 + sizeof(payload);
	struct frame frame;

	for (int i = 0; i < 8; i += 2)
		sum += (unsigned)(addresses[i] << 8 | addresses[i + 1]);
	sum = (sum & 0xffff) + (sum >> 16);
	room[udp + 6] = (__u8)(sum >> 8);
	room[udp + 7] = (__u8)sum;
	REQUIRE(frame_read(room, length, &frame) == REASON_FORWARDED);
	room[udp + 7]++;
	REQUIRE(frame_read(room, length, &frame) == REASON_BAD_CHECKSUM);
	room[udp + 6] = room[udp + 7] = 0;
	REQUIRE(frame_read(room, length, &frame) == REASON_FORWARDED);
	length = build(room, own6, peer6, 0, 0);
	room[14 + 40 + 6] = room[14 + 40 + 7] = 0;
	REQUIRE(frame_read(room, length, &frame) == REASON_BAD_CHECKSUM);
	return 0;
}

static int refused(void)
{
	__u8 room[FRAME_HEAD + sizeof(payload)];
	size_t length = build(room, own4, peer4, 0, 0);
	struct frame frame;

	room[14 + 6] = 0x20;
	REQUIRE(frame_read(room, length, &frame) == REASON_PASS_NOT_UDP); /* a fragment */
	room[14 + 6] = 0;
	room[14] = 0x46;
	REQUIRE(frame_read(room, length, &frame) == REASON_OPTIONS);
	room[14] = 0x45;
	room[12] = 0x86;
	REQUIRE(frame_read(room, length, &frame) == REASON_PASS_NOT_IP);
	return 0;
}

int main(void)
{
	size_t datagram = 8 + sizeof(payload);

	return there_and_back(own4, peer4, 0, 0, 14 + 20 + datagram) ||
	       there_and_back(own4, peer4, 100, 0, 18 + 20 + datagram) ||
	       there_and_back(own6, peer6, 0, 0, 14 + 40 + datagram) ||
	       there_and_back(own6, peer6, 100, 200, 22 + 40 + datagram) || tags() || checksums() ||
	       refused();
}
