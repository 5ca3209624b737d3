/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Is this datagram RTP or RTCP, by its own fields alone? The engine's only parser of hostile bytes. */
#ifndef VOXDP_PACKET_H
#define VOXDP_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/types.h>

#include "rtp_stats.h"

enum packet_kind {
	PACKET_RTP,
	PACKET_RTCP, /* on its own port, or beside RTP on one port (RFC 5761 §4) */
};

/*
 * REASON_FORWARDED, or what is wrong with it as RTP (RFC 3550 §5.1) or as the first packet of an RTCP
 * compound (§6.1); *kind is set with REASON_FORWARDED. On an `rtcp_port` everything has to be RTCP.
 */
enum reason packet_check(const __u8 *data, size_t length, bool rtcp_port, enum packet_kind *kind);

/* Bytes of header, contributing sources and extension; more than `length` if they do not fit. */
size_t packet_rtp_header(const __u8 *data, size_t length);

/* The fields of a packet that packet_check found to be RTP; now in ns of CLOCK_MONOTONIC. */
struct rtp_packet packet_read(const __u8 *data, __u64 now);

#endif
