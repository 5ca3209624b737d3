/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The fields of an RTP packet (RFC 3550 §5.1), read within its bounds, and its fixed header written. */
#ifndef VOXDP_RTP_H
#define VOXDP_RTP_H

#include <stddef.h>
#include <stdint.h>

#define RTP_FIXED 12 /* bytes of a header without contributing sources and extension */

struct rtp_fields {
	const uint8_t *payload;
	uint32_t length; /* of the payload, padding not counted */
	uint32_t timestamp;
	uint32_t ssrc;
	uint16_t sequence;
	uint8_t payload_type;
	uint8_t marker;
};

/* 0, or -1: no RTP packet. */
int rtp_read(const uint8_t *data, size_t length, struct rtp_fields *fields);

/* Writes RTP_FIXED bytes; payload and its length are not looked at. */
void rtp_write(const struct rtp_fields *fields, uint8_t *data);

#endif
