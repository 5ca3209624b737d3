/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rtcp_report.h"

#include <stdio.h>
#include <string.h>

#define SR	     200
#define RR	     201
#define SDES	     202
#define HEADER	     12
#define SECOND	     1000000000ULL
#define SINCE_1900   2208988800ULL
#define SENDER_WORDS 7
#define BLOCK_WORDS  6

static __u32 read_32(const __u8 *data)
{
	return (__u32)data[0] << 24 | (__u32)data[1] << 16 | (__u32)data[2] << 8 | data[3];
}

static __u8 *put_32(__u8 *data, __u32 value)
{
	data[0] = (__u8)(value >> 24);
	data[1] = (__u8)(value >> 16);
	data[2] = (__u8)(value >> 8);
	data[3] = (__u8)value;
	return data + 4;
}

/* 32 bits of seconds since 1900, 32 of their fraction. */
static __u64 ntp_of(__u64 wall)
{
	return (wall / SECOND + SINCE_1900) << 32 | (wall % SECOND << 32) / SECOND;
}

void rtcp_report_sent(struct rtcp_sender *sender, const __u8 *rtp, size_t length, __u64 now)
{
	if (length < HEADER)
		return;
	if (sender->packets && sender->ssrc != read_32(rtp + 8))
		sender->packets = sender->octets = 0;
	sender->ssrc = read_32(rtp + 8);
	sender->timestamp = read_32(rtp + 4);
	sender->time = now;
	sender->packets++;
	sender->octets += (__u32)(length - HEADER);
}

void rtcp_report_counts(struct rtcp_heard *heard, __u16 sequence)
{
	__u16 ahead = (__u16)(sequence - heard->sequence);

	if (ahead >= 0x8000)
		return; /* late */
	if (sequence < heard->sequence)
		heard->cycles += 1U << 16;
	heard->sequence = sequence;
}

void rtcp_report_hears(struct rtcp_heard *heard, const __u8 *data, size_t length, __u64 now)
{
	if (length < RTCP_SENDER_BYTES || data[1] != SR)
		return;
	heard->report = read_32(data + 10); /* the middle of the eight bytes from 8 on */
	heard->report_time = now;
}

int rtcp_report_lost(const __u8 *data, size_t length)
{
	size_t at = data[1] == SR ? 4 * SENDER_WORDS : 8;

	if ((data[1] != SR && data[1] != RR) || !(data[0] & 31) || length < at + 4 * BLOCK_WORDS)
		return -1;
	return data[at + 4] * 100 / 256;
}

/* Of what was expected since the last report, in 256ths. */
static __u8 fraction_lost(const struct rtcp_heard *heard, __u32 packets, __u32 lost)
{
	__s64 missing = (__s64)lost - heard->lost, expected = (__s64)packets - heard->packets + missing;

	if (missing <= 0 || expected <= 0)
		return 0;
	return missing >= expected ? 255 : (__u8)(missing * 256 / expected);
}

static __u8 *put_block(__u8 *data, struct rtcp_heard *heard, const struct flow_track *track,
		       const struct flow_tally *tally, __u64 now)
{
	__u32 packets = (__u32)track->packets, lost = tally->lost < 0x7fffff ? tally->lost : 0x7fffff;
	__u64 delay = heard->report ? ((now - heard->report_time) << 16) / SECOND : 0;

	data = put_32(data, track->ssrc);
	data = put_32(data, (__u32)fraction_lost(heard, packets, lost) << 24 | lost);
	data = put_32(data, heard->cycles | heard->sequence);
	data = put_32(data, track->jitter >> 4);
	data = put_32(data, heard->report);
	heard->packets = packets;
	heard->lost = lost;
	return put_32(data, (__u32)delay);
}

/* One chunk with the name by which the stream is known, and its end. */
static __u8 *put_name(__u8 *data, __u32 ssrc)
{
	char name[9];
	__u8 *start = data;

	snprintf(name, sizeof(name), "%08x", ssrc);
	data = put_32(data, 2U << 30 | 1U << 24 | SDES << 16 | 4);
	data = put_32(data, ssrc);
	memset(data, 0, 12);
	data[0] = 1; /* CNAME */
	data[1] = sizeof(name) - 1;
	memcpy(data + 2, name, sizeof(name) - 1);
	return start + 20;
}

size_t rtcp_report_write(__u8 *data, const struct rtcp_sender *sender, struct rtcp_heard *heard,
			 const struct flow_track *track, const struct flow_tally *tally, __u64 now,
			 __u64 wall)
{
	__u32 blocks = track->window ? 1 : 0, words = SENDER_WORDS - 1 + blocks * BLOCK_WORDS;
	__u64 ntp = ntp_of(wall);
	__u8 *end = data;

	if (!sender->packets)
		return 0;
	end = put_32(end, 2U << 30 | blocks << 24 | SR << 16 | words);
	end = put_32(end, sender->ssrc);
	end = put_32(end, (__u32)(ntp >> 32));
	end = put_32(end, (__u32)ntp);
	end = put_32(end, sender->timestamp + (__u32)((now - sender->time) / 1000 * sender->clock / 1000000));
	end = put_32(end, sender->packets);
	end = put_32(end, sender->octets);
	if (blocks)
		end = put_block(end, heard, track, tally, now);
	return (size_t)(put_name(end, sender->ssrc) - data);
}
