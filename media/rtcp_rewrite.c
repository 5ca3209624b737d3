/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rtcp_rewrite.h"

#define RTP_SSRC     8
#define SENDER_INFO  20
#define REPORT_BLOCK 24

enum packet_type { SR = 200, RR, SDES, BYE, APP, RTPFB, PSFB, XR };

static void combine(__u8 *ssrc, __u32 mask)
{
	ssrc[0] ^= (__u8)(mask >> 24);
	ssrc[1] ^= (__u8)(mask >> 16);
	ssrc[2] ^= (__u8)(mask >> 8);
	ssrc[3] ^= (__u8)mask;
}

void rtp_mask(__u8 *data, __u32 mask)
{
	combine(data + RTP_SSRC, mask);
}

static void mask_blocks(__u8 *packet, size_t at, size_t length, unsigned count, __u32 reported)
{
	for (; count && at + REPORT_BLOCK <= length; count--, at += REPORT_BLOCK)
		combine(packet + at, reported);
}

/* A chunk is an SSRC and items, ended by a zero, filled up to four bytes. */
static void mask_chunks(__u8 *packet, size_t length, unsigned count, __u32 own)
{
	size_t at = 4;

	for (; count && at + 4 <= length; count--) {
		combine(packet + at, own);
		at += 4;
		while (at + 1 < length && packet[at])
			at += 2 + (size_t)packet[at + 1];
		at = (at + 4) / 4 * 4;
	}
}

static void mask_packet(__u8 *packet, size_t length, __u32 own, __u32 reported)
{
	unsigned count = packet[0] & 0x1f, type = packet[1];

	if (type == SDES) {
		mask_chunks(packet, length, count, own);
		return;
	}
	if (type == BYE) {
		for (size_t at = 4; count && at + 4 <= length; count--, at += 4)
			combine(packet + at, own);
		return;
	}
	if (length < 8)
		return;
	combine(packet + 4, own);
	if (type == SR)
		mask_blocks(packet, 8 + SENDER_INFO, length, count, reported);
	else if (type == RR)
		mask_blocks(packet, 8, length, count, reported);
	else if ((type == RTPFB || type == PSFB) && length >= 12)
		combine(packet + 8, reported);
}

void rtcp_mask(__u8 *data, size_t length, __u32 own, __u32 reported)
{
	while (length >= 4) {
		size_t size = 4 * ((size_t)(data[2] << 8 | data[3]) + 1);

		if (size > length)
			return;
		mask_packet(data, size, own, reported);
		data += size;
		length -= size;
	}
}
