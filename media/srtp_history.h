/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which packet indexes a master key has been used for, by SSRC: the replay window of what is received
 * (RFC 3711 §3.3.2) and, for what is sent, the promise that no index serves two packets. It lies in memory
 * that outlives the process, and each change is made before the packet that causes it is seen or sent.
 */
#ifndef VOXDP_SRTP_HISTORY_H
#define VOXDP_SRTP_HISTORY_H

#include <stdbool.h>
#include <linux/types.h>

#define SRTP_WINDOW	  1024 /* indexes back from the highest that are told apart */
#define SRTP_STREAMS	  6    /* SSRCs at a time, RTP and RTCP each counted */
#define SRTP_CLOSED	  58   /* SSRCs before those, refused from then on */
#define SRTP_ID_BYTES	  16
#define SRTP_INDEX_LIMIT  (1ULL << 48)
#define SRTCP_INDEX_LIMIT (1ULL << 31)

struct srtp_stream {
	__u32 ssrc;
	__u8 rtcp;
	__u8 used;
	__u16 reserved;
	__u64 highest;
	__u64 window[SRTP_WINDOW / 64]; /* bit i % SRTP_WINDOW: index i was used */
};

struct srtp_history {
	__u32 mask; /* what the SSRCs of packets to be sent are combined with by exclusive or, before all else
		     */
	__u32 closed_count;
	__u32 closed[SRTP_CLOSED];
	struct srtp_stream streams[SRTP_STREAMS];
};

/* The stream, or NULL: that SSRC has not been seen. */
struct srtp_stream *srtp_history_find(struct srtp_history *history, __u32 ssrc, bool rtcp);

/* A stream for an SSRC that has none; NULL: refused, as too many SSRCs have come and gone. */
struct srtp_stream *srtp_history_add(struct srtp_history *history, __u32 ssrc, bool rtcp);

/* The 48-bit index that a sequence number stands for (RFC 3711 §3.3.1); stream NULL: the first packet's. */
__u64 srtp_index(const struct srtp_stream *stream, __u16 sequence);

/* Whether the index may be used: it was not before, and is not too old to know. */
bool srtp_index_fresh(const struct srtp_stream *stream, __u64 index);

/* Marks an index that is fresh as used. */
void srtp_index_use(struct srtp_stream *stream, __u64 index);

#endif
