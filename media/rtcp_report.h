/* SPDX-License-Identifier: GPL-3.0-or-later */
/* RTCP of our own (RFC 3550 §6.4), where what a flow sends is another stream than what it hears. */
#ifndef VOXDP_RTCP_REPORT_H
#define VOXDP_RTCP_REPORT_H

#include <stddef.h>
#include <linux/types.h>

#include "rtp_stats.h"

#define RTCP_REPORT_BYTES 128
#define RTCP_SENDER_BYTES 28 /* of it without its block */

/* The stream that we send. Times in ns of CLOCK_MONOTONIC. */
struct rtcp_sender {
	__u64 time; /* of the last packet */
	__u32 ssrc;
	__u32 timestamp; /* of the last packet */
	__u32 packets;	 /* 0: nothing was sent, and so nothing is reported */
	__u32 octets;	 /* of payload */
	__u32 clock;	 /* Hz, 0: unknown */
};

/* What a report block says of a stream that we hear, beyond its statistics. */
struct rtcp_heard {
	__u64 report_time;   /* when its last sender's report came */
	__u32 report;	     /* and the middle of that one's NTP time stamp, 0: none came */
	__u32 cycles;	     /* of its sequence numbers, in the upper half */
	__u32 packets, lost; /* at our last report */
	__u16 sequence;
};

/* An RTP packet goes out. */
void rtcp_report_sent(struct rtcp_sender *sender, const __u8 *rtp, size_t length, __u64 now);

/* An RTP packet came. */
void rtcp_report_counts(struct rtcp_heard *heard, __u16 sequence);

/* A valid RTCP compound came. */
void rtcp_report_hears(struct rtcp_heard *heard, const __u8 *data, size_t length, __u64 now);

/* What share of packets, in percent, the first block of a valid RTCP compound says was lost; -1: it has none.
 */
int rtcp_report_lost(const __u8 *data, size_t length);

/*
 * A sender's report on `sender` with a block on the stream of `track` and a canonical name, into
 * RTCP_REPORT_BYTES; wall: ns since 1970 now. Returns its length, 0: there is nothing to report.
 */
size_t rtcp_report_write(__u8 *data, const struct rtcp_sender *sender, struct rtcp_heard *heard,
			 const struct flow_track *track, const struct flow_tally *tally, __u64 now,
			 __u64 wall);

#endif
