/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Telephone events (RFC 4733), told once each. A sender repeats an event while it lasts, all under the time
 * stamp of its beginning, and its end three times. Where no end arrives, the next event tells of it, or the
 * first other packet that is clearly later. One too long for its 16 bits of duration goes on in a new
 * segment.
 */
#ifndef VOXDP_DTMF_H
#define VOXDP_DTMF_H

#define DTMF_END      0x80
#define DTMF_VOLUME   0x3f
#define DTMF_LONGEST  0xffff
#define DTMF_PATIENCE 2400 /* ticks: no sender of audio beside an event is so far ahead of its end */
#define DTMF_STATE    (DTMF_OPEN | DTMF_TOLD)

/* RFC 4733 2.3 */
struct telephone_event {
	__u8 event;
	__u8 end_volume; /* end bit, reserved bit, volume 6 bits */
	__be16 duration;
};

static __always_inline void tell_event(struct xdp_md *ctx, const struct passage *passage,
				       struct flow_tally *tally)
{
	struct report report = {
		.type = EVENT_DTMF,
		.digit = tally->dtmf_event,
		.volume = tally->dtmf_state & DTMF_VOLUME,
		.ssrc = tally->dtmf_ssrc,
		.timestamp = tally->dtmf_timestamp,
		.duration = tally->dtmf_duration,
	};

	tally->dtmf_state = DTMF_TOLD | report.volume;
	emit(ctx, passage, &report);
}

/* Time stamp of the packet after that of the event, in ticks; negative: before. */
static __always_inline __s32 since_event(const struct passage *passage, const struct flow_tally *tally)
{
	return (__s32)(passage->rtp.timestamp - tally->dtmf_timestamp);
}

static __always_inline bool is_open(const struct flow_tally *tally)
{
	return tally->dtmf_state & DTMF_OPEN;
}

/* Has this packet nothing to add: of an event before the one known, or of one that was told? */
static __always_inline bool is_stale(const struct passage *passage, const struct flow_tally *tally)
{
	__s32 since = since_event(passage, tally);

	if (!(tally->dtmf_state & DTMF_STATE) || tally->dtmf_ssrc != passage->rtp.ssrc)
		return false;
	return since < 0 || (!since && !is_open(tally));
}

static __always_inline void note_event(const struct passage *passage, struct flow_tally *tally,
				       const struct telephone_event *event)
{
	__u16 duration = bpf_ntohs(event->duration);

	tally->dtmf_event = event->event;
	tally->dtmf_state = DTMF_OPEN | (event->end_volume & DTMF_VOLUME);
	tally->dtmf_timestamp = passage->rtp.timestamp;
	tally->dtmf_ssrc = passage->rtp.ssrc;
	tally->dtmf_duration = duration;
}

/* The next segment of an event that lasts longer than its duration can say: the same event goes on. */
static __always_inline bool goes_on(const struct passage *passage, const struct flow_tally *tally,
				    const struct telephone_event *event)
{
	return tally->dtmf_event == event->event && tally->dtmf_ssrc == passage->rtp.ssrc &&
	       tally->dtmf_duration == DTMF_LONGEST && since_event(passage, tally) == DTMF_LONGEST;
}

static __always_inline void observe_event(struct xdp_md *ctx, const struct passage *passage,
					  struct flow_tally *tally)
{
	struct telephone_event event;
	bool same;

	if (passage->body + sizeof(event) > passage->payload ||
	    bpf_xdp_load_bytes(ctx, passage->transport + sizeof(struct udphdr) + passage->body, &event,
			       sizeof(event)))
		return;
	if (is_stale(passage, tally))
		return;
	same = tally->dtmf_ssrc == passage->rtp.ssrc && !since_event(passage, tally);
	if (is_open(tally) && !same && !goes_on(passage, tally, &event))
		tell_event(ctx, passage, tally);
	note_event(passage, tally, &event);
	if (event.end_volume & DTMF_END)
		tell_event(ctx, passage, tally);
}

/* Another packet of the stream, while an event is open: is the event long over? */
static __always_inline void observe_after_event(struct xdp_md *ctx, const struct passage *passage,
						struct flow_tally *tally)
{
	if (tally->dtmf_ssrc != passage->rtp.ssrc ||
	    since_event(passage, tally) > tally->dtmf_duration + DTMF_PATIENCE)
		tell_event(ctx, passage, tally);
}

__noinline int observe_dtmf(struct xdp_md *ctx, const struct passage *passage)
{
	struct flow_ledger *ledger;

	if (!passage)
		return 0;
	ledger = ledger_at(passage->index);
	if (!ledger)
		return 0;
	if (passage->rtp.payload_type == ledger->wide.dtmf_type)
		observe_event(ctx, passage, &ledger->tally);
	else if (is_open(&ledger->tally))
		observe_after_event(ctx, passage, &ledger->tally);
	return 0;
}

#endif
