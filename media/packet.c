/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "packet.h"

#define RTP_HEADER	 12
#define RTCP_HEADER	 8 /* with the SSRC that every RTCP packet of ours begins with */
#define EXTENSION_HEADER 4
#define RTCP_FIRST	 192 /* RFC 5761 §4 */
#define RTCP_LAST	 223

static bool is_version_2(const __u8 *data)
{
	return data[0] >> 6 == 2;
}

static __u16 read_16(const __u8 *data)
{
	return (__u16)(data[0] << 8 | data[1]);
}

static __u32 read_32(const __u8 *data)
{
	return (__u32)read_16(data) << 16 | read_16(data + 2);
}

static bool is_rtcp(const __u8 *data)
{
	return data[1] >= RTCP_FIRST && data[1] <= RTCP_LAST;
}

size_t packet_rtp_header(const __u8 *data, size_t length)
{
	size_t header = RTP_HEADER;

	if (length < RTP_HEADER)
		return header;
	header += 4 * (size_t)(data[0] & 0x0f);
	if (!(data[0] & 0x10))
		return header;
	if (header + EXTENSION_HEADER > length)
		return header + EXTENSION_HEADER;
	return header + EXTENSION_HEADER + 4 * (size_t)read_16(data + header + 2);
}

static enum reason check_rtp(const __u8 *data, size_t length)
{
	if (packet_rtp_header(data, length) > length)
		return REASON_SHORT;
	return REASON_FORWARDED;
}

/* The length field counts words less one. */
static enum reason check_rtcp(const __u8 *data, size_t length)
{
	if (!is_rtcp(data) || 4 * ((size_t)read_16(data + 2) + 1) > length)
		return REASON_BAD_RTCP;
	return REASON_FORWARDED;
}

enum reason packet_check(const __u8 *data, size_t length, bool rtcp_port, enum packet_kind *kind)
{
	if (length < RTCP_HEADER)
		return REASON_SHORT;
	if (!is_version_2(data))
		return REASON_BAD_VERSION;
	*kind = rtcp_port || is_rtcp(data) ? PACKET_RTCP : PACKET_RTP;
	return *kind == PACKET_RTCP ? check_rtcp(data, length) : check_rtp(data, length);
}

struct rtp_packet packet_read(const __u8 *data, __u64 now)
{
	return (struct rtp_packet){
		.arrival = now,
		.timestamp = read_32(data + 4),
		.ssrc = read_32(data + 8),
		.sequence = read_16(data + 2),
		.payload_type = data[1] & 0x7f,
	};
}
