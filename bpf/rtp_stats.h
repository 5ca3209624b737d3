/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What one packet says about its stream: loss, order, duplicates, jitter, gaps and restarts, kept in struct
 * flow_track and struct flow_tally. Plain C without helpers, so that the kernel relay and the engine count
 * alike. One thread at a time may observe a flow: nothing here is atomic.
 *
 * The includer provides the __u8 to __u64 types, by linux/types.h or linux/bpf.h.
 */
#ifndef VOXDP_RTP_STATS_H
#define VOXDP_RTP_STATS_H

#include "flow.h"

#define RTP_WINDOW  64	 /* packets back that are told apart as late or duplicate */
#define RTP_DROPOUT 3000 /* RFC 3550 A.1: a longer jump of the sequence is a restart, not loss */
#define MICROSECOND 1000 /* ns */

/* One RTP packet, in host order; arrival in ns of CLOCK_MONOTONIC. */
struct rtp_packet {
	__u64 arrival;
	__u32 timestamp;
	__u32 ssrc;
	__u16 sequence;
	__u8 payload_type;
};

enum rtp_change {
	RTP_SAME_STREAM = 0,
	RTP_NEW_SSRC = 1, /* another SSRC than before; the first packet of a flow is no change */
};

/* Any forwarded packet of a flow, RTP or RTCP: `bytes` of UDP payload, `tos` as it came, `now` in ns. */
static inline __attribute__((always_inline)) void flow_observe(struct flow_track *track, __u64 bytes,
							       __u8 tos, __u64 now)
{
	__u64 gap = now - track->last_seen;

	if (gap >= (track->largest_gap + 1ULL) * MICROSECOND && track->last_seen) {
		gap /= MICROSECOND;
		track->largest_gap = gap < 0xffffffff ? gap : 0xffffffff;
	}
	track->last_seen = now;
	track->packets++;
	track->bytes += bytes;
	track->tos = tos;
}

/* Arrival minus timestamp in ticks of the stream's clock; only differences of it mean something. */
static inline __attribute__((always_inline)) __u32 rtp_transit(const struct rtp_packet *packet, __u32 clock)
{
	return (__u32)((packet->arrival >> CLOCK_SHIFT) * clock >> 32) - packet->timestamp;
}

/* RFC 3550 A.8. A step of some four seconds or more is a new time line of the sender, not jitter. */
static inline __attribute__((always_inline)) void rtp_jitter(struct flow_track *track, __u32 transit,
							     __u32 clock)
{
	__u32 step = transit - track->transit;

	track->transit = transit;
	if ((__s32)step < 0)
		step = -step;
	if (step < clock >> CLOCK_SHIFT)
		track->jitter += step - ((track->jitter + 8) >> 4);
}

/* The stream begins here: first packet, other SSRC, or a jump that cannot be loss. */
static inline __attribute__((always_inline)) void rtp_start(struct flow_track *track,
							    const struct rtp_packet *packet, __u32 clock)
{
	track->window = 1;
	track->sequence = packet->sequence;
	track->ssrc = packet->ssrc;
	track->transit = rtp_transit(packet, clock);
}

/* A packet at or before the highest sequence number: `age` 0 to RTP_WINDOW - 1. */
static inline __attribute__((always_inline)) void rtp_late(struct flow_track *track, struct flow_tally *tally,
							   __u32 age)
{
	__u64 bit = 1ULL << age;

	if (track->window & bit) {
		tally->duplicates++;
		return;
	}
	track->window |= bit;
	tally->reordered++;
	if (tally->lost)
		tally->lost--;
}

/*
 * Places a sequence number. Returns 0 where it belongs to no stream seen so far. Right after a start (window
 * 1) a jump beyond the window is one more start: the packet before it may have been a stray.
 */
static inline __attribute__((always_inline)) int rtp_sequence(struct flow_track *track,
							      struct flow_tally *tally, __u16 sequence)
{
	__u16 ahead = sequence - track->sequence;
	__u16 age = track->sequence - sequence;

	if (age < RTP_WINDOW) {
		rtp_late(track, tally, age);
		return 1;
	}
	if (ahead >= RTP_DROPOUT || (ahead >= RTP_WINDOW && track->window == 1))
		return 0;
	tally->lost += ahead - 1;
	track->window = ahead < RTP_WINDOW ? track->window << ahead | 1 : 1;
	track->sequence = sequence;
	return 1;
}

/*
 * The next packet of the stream that is there, which nearly every packet is: counts it and returns 1. Returns
 * 0 and does nothing where it is not; then rtp_observe is to be called.
 */
static inline __attribute__((always_inline)) int rtp_next(struct flow_track *track,
							  const struct rtp_packet *packet, __u32 clock)
{
	__u64 window = track->window;

	if (packet->ssrc != track->ssrc || (__u16)(packet->sequence - track->sequence) != 1 || !window)
		return 0;
	track->window = window << 1 | 1;
	track->sequence = packet->sequence;
	track->payload_type = packet->payload_type;
	if (clock)
		rtp_jitter(track, rtp_transit(packet, clock), clock);
	return 1;
}

/*
 * Observes one valid RTP packet; `clock` as in struct flow_rule, 0: no jitter. Returns whether the SSRC
 * changed, which the caller may want to report.
 */
static inline __attribute__((always_inline)) enum rtp_change
rtp_observe(struct flow_track *track, struct flow_tally *tally, const struct rtp_packet *packet, __u32 clock)
{
	track->payload_type = packet->payload_type;
	if (!track->window) {
		rtp_start(track, packet, clock);
		return RTP_SAME_STREAM;
	}
	if (packet->ssrc != track->ssrc) {
		tally->ssrc_changes++;
		rtp_start(track, packet, clock);
		return RTP_NEW_SSRC;
	}
	if (!rtp_sequence(track, tally, packet->sequence)) {
		tally->resets++;
		rtp_start(track, packet, clock);
	} else if (clock) {
		rtp_jitter(track, rtp_transit(packet, clock), clock);
	}
	return RTP_SAME_STREAM;
}

#endif
