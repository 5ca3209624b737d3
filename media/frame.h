/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * UDP in an Ethernet frame, where no network stack reads or writes the headers. Up to two VLAN tags, IPv4
 * without options, IPv6 without extension headers; the kernel relay hands up nothing else.
 */
#ifndef VOXDP_FRAME_H
#define VOXDP_FRAME_H

#include <stddef.h>

#include "address.h"
#include "engine.h"

#define FRAME_HEAD (14 + 2 * 4 + 40 + 8) /* longest that frame_write puts before the payload */

/* A datagram as it came in. */
struct frame {
	__u8 *payload; /* in the frame */
	size_t length; /* of the payload, bytes */
	union socket_address source;
	__u8 local[16]; /* address it was sent to */
	__u16 port;	/* that it was sent to, host order */
	__u8 ttl;
	__u8 tos;
};

/* What goes before a datagram that leaves. */
struct frame_head {
	const struct engine_hop *hop; /* MAC addresses and VLAN tags */
	const __u8 *source_address;   /* 16 bytes, of the same family as the target */
	const union socket_address *target;
	__u16 source_port; /* host order */
	__u16 identity;	   /* IPv4's, so that fragments of two datagrams are told apart */
	__u8 ttl;
	__u8 tos;
};

/* REASON_FORWARDED, or what is wrong with the frame, its UDP checksum included. */
enum reason frame_read(__u8 *data, size_t length, struct frame *frame);

/* Writes headers and payload to `room`, FRAME_HEAD + length bytes; returns the length of the frame. */
size_t frame_write(__u8 *room, const struct frame_head *head, const __u8 *payload, size_t length);

#endif
