/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "srtp_history.h"

#include <string.h>

#define WORDS  (SRTP_WINDOW / 64)
#define MEDIAN 0x8000

struct srtp_stream *srtp_history_find(struct srtp_history *history, __u32 ssrc, bool rtcp)
{
	for (unsigned i = 0; i < SRTP_STREAMS; i++) {
		struct srtp_stream *stream = &history->streams[i];

		if (!stream->used)
			return NULL;
		if (stream->ssrc == ssrc && stream->rtcp == rtcp)
			return stream;
	}
	return NULL;
}

static bool is_closed(const struct srtp_history *history, __u32 ssrc)
{
	for (unsigned i = 0; i < history->closed_count && i < SRTP_CLOSED; i++)
		if (history->closed[i] == ssrc)
			return true;
	return false;
}

/* The oldest stream gives way: it stands first, and those behind it move up. */
static bool close_oldest(struct srtp_history *history)
{
	if (history->closed_count >= SRTP_CLOSED)
		return false;
	history->closed[history->closed_count] = history->streams[0].ssrc;
	history->closed_count++;
	memmove(history->streams, history->streams + 1, sizeof(history->streams) - sizeof(*history->streams));
	history->streams[SRTP_STREAMS - 1].used = 0;
	return true;
}

struct srtp_stream *srtp_history_add(struct srtp_history *history, __u32 ssrc, bool rtcp)
{
	struct srtp_stream *stream;
	unsigned place = 0;

	if (is_closed(history, ssrc))
		return NULL;
	while (place < SRTP_STREAMS && history->streams[place].used)
		place++;
	if (place == SRTP_STREAMS && !close_oldest(history))
		return NULL;
	stream = &history->streams[place < SRTP_STREAMS ? place : SRTP_STREAMS - 1];
	memset(stream, 0, sizeof(*stream));
	stream->ssrc = ssrc;
	stream->rtcp = rtcp;
	stream->used = 1;
	return stream;
}

/* There is nothing before roll-over 0, so a number far ahead of it is ahead, not behind. */
__u64 srtp_index(const struct srtp_stream *stream, __u16 sequence)
{
	__u64 rollover = stream ? stream->highest >> 16 : 0;
	__s32 ahead = stream ? (__s32)sequence - (__s32)(stream->highest & 0xffff) : 0;

	if (ahead < -MEDIAN)
		rollover++;
	else if (ahead > MEDIAN && rollover)
		rollover--;
	return rollover << 16 | sequence;
}

static __u64 bit(__u64 index)
{
	return 1ULL << (index % 64);
}

bool srtp_index_fresh(const struct srtp_stream *stream, __u64 index)
{
	if (index > stream->highest)
		return true;
	if (stream->highest - index >= SRTP_WINDOW)
		return false;
	return !(stream->window[index / 64 % WORDS] & bit(index));
}

/* The places of indexes that were skipped still hold what came a window ago. */
static void advance(struct srtp_stream *stream, __u64 index)
{
	if (index - stream->highest >= SRTP_WINDOW)
		memset(stream->window, 0, sizeof(stream->window));
	else
		for (__u64 skipped = stream->highest + 1; skipped < index; skipped++)
			stream->window[skipped / 64 % WORDS] &= ~bit(skipped);
	stream->highest = index;
}

void srtp_index_use(struct srtp_stream *stream, __u64 index)
{
	if (index > stream->highest)
		advance(stream, index);
	stream->window[index / 64 % WORDS] |= bit(index);
}
