/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The stages of engine flows: one transcodes, plays and dials; two pass on. All can copy to a recorder. */
#include "stage_transcode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "stage.h"

#define LOOK 500000000ULL /* ns: how often reports may become due */

struct state {
	struct tap tap;
	__u32 clock;		       /* Hz, where packets pass and reports are ours */
	struct transcoder *transcoder; /* in one block of its own; NULL: packets pass as they are */
	struct stage_done done;
};

static struct transcoder *create(const struct transcoder_settings *settings, uint64_t now)
{
	void *memory = stage_memory(transcoder_bytes(settings));
	struct transcoder *transcoder = memory ? transcoder_open(memory, settings, now) : NULL;

	if (memory && !transcoder)
		free(memory);
	return transcoder;
}

static void destroy(struct transcoder *transcoder)
{
	transcoder_close(transcoder);
	free(transcoder);
}

/* What went out before goes on under its name and numbers, though it is another codec's. */
static int replace(struct state *state, struct transcoder_settings *settings, uint64_t now)
{
	struct transcoder *fresh;
	int error = 0;

	if (state->transcoder) {
		settings->sender.ssrc = state->transcoder->sender->settings.ssrc;
		settings->sender.timestamp = state->transcoder->sender->timestamp;
		settings->sender.sequence = state->transcoder->sender->sequence;
	} else {
		error = stage_draw_names(&settings->sender);
	}
	fresh = error ? NULL : create(settings, now);
	if (!fresh)
		return error ? error : EINVAL;
	if (state->transcoder)
		destroy(state->transcoder);
	state->transcoder = fresh;
	state->done.play = 0;
	return 0;
}

/* 0 or EINVAL. */
static int read_settings(struct transcode_stage *wanted, const void *settings, size_t length)
{
	if (length != sizeof(*wanted))
		return EINVAL;
	memcpy(wanted, settings, length);
	return stage_orders_check(&wanted->orders);
}

static int change_transcoder(void *memory, const void *settings, size_t length, __u64 now)
{
	struct state *state = memory;
	struct transcode_stage wanted;
	int error = read_settings(&wanted, settings, length);

	if (error)
		return error;
	if (transcoder_change(state->transcoder, &wanted.transcoder))
		error = replace(state, &wanted.transcoder, now);
	if (error)
		return error;
	tap_change(&state->tap, &wanted.tap);
	error = stage_orders_follow(&state->done, &wanted.orders, &state->transcoder->clip,
				    state->transcoder->sender);
	if (!error)
		state->transcoder->mixed = wanted.orders.play_mixed;
	return error;
}

static void close_stage(void *memory)
{
	struct state *state = memory;

	tap_close(&state->tap);
	if (state->transcoder)
		destroy(state->transcoder);
}

static int open_transcoder(void *memory, const void *settings, size_t length, __u64 now)
{
	struct state *state = memory;
	struct transcode_stage wanted;
	int error = read_settings(&wanted, settings, length);

	state->tap.socket = -1;
	if (!error)
		error = replace(state, &wanted.transcoder, now);
	if (error)
		return error;
	tap_open(&state->tap, &wanted.tap);
	state->transcoder->mixed = wanted.orders.play_mixed;
	stage_orders_resume(&state->done, &wanted.orders, &state->transcoder->clip,
			    state->transcoder->sender);
	return 0;
}

static void put_packet(void *memory, __u8 *rtp, size_t length, __u64 now, struct stage_output *output)
{
	struct state *state = memory;
	const struct transcoder_ear ear = stage_ear(output);

	tap_copy(&state->tap, rtp, length, now);
	transcoder_put(state->transcoder, rtp, length, now, &ear);
}

static __u64 tick_transcoder(void *memory, __u64 now, struct stage_output *output)
{
	struct state *state = memory;
	const struct packet_sink sink = stage_sink(output);
	const struct transcoder_ear ear = stage_ear(output);

	return transcoder_tick(state->transcoder, now, &sink, &ear);
}

static size_t report(const void *memory, void *place, size_t space)
{
	const struct state *state = memory;
	struct stage_report counted = {.tap = state->tap.counts};

	if (space < sizeof(counted))
		return 0;
	if (state->transcoder)
		transcoder_report(state->transcoder, &counted.transcoder);
	memcpy(place, &counted, sizeof(counted));
	return sizeof(counted);
}

static __u32 clock_of(const void *memory)
{
	const struct state *state = memory;

	return state->transcoder->sender->clock_rate;
}

static void note_lost(void *memory, unsigned percent)
{
	const struct state *state = memory;

	encoder_expect(state->transcoder->sender->encoder, percent);
}

static int open_tap(void *memory, const void *settings, size_t length, __u64 now)
{
	struct state *state = memory;

	(void)now;
	if (length != sizeof(struct tap_stage))
		return EINVAL;
	tap_open(&state->tap, settings);
	return 0;
}

static int change_tap(void *memory, const void *settings, size_t length, __u64 now)
{
	struct state *state = memory;

	(void)now;
	if (length != sizeof(struct tap_stage))
		return EINVAL;
	tap_change(&state->tap, settings);
	return 0;
}

static void pass_packet(void *memory, __u8 *rtp, size_t length, __u64 now, struct stage_output *output)
{
	struct state *state = memory;
	__u8 *copy = length <= STAGE_PACKET ? stage_room(output) : NULL;

	tap_copy(&state->tap, rtp, length, now);
	if (!copy)
		return;
	memcpy(copy, rtp, length);
	stage_send(output, length);
}

static __u64 never(void *memory, __u64 now, struct stage_output *output)
{
	(void)memory;
	(void)now;
	(void)output;
	return ~0ULL;
}

static int take_reports(struct state *state, const void *settings, size_t length,
			void (*take)(struct tap *, const struct tap_settings *))
{
	const struct reports_stage *wanted = settings;

	if (length != sizeof(*wanted))
		return EINVAL;
	state->clock = wanted->clock;
	take(&state->tap, &wanted->tap);
	return 0;
}

static int open_reports(void *memory, const void *settings, size_t length, __u64 now)
{
	(void)now;
	return take_reports(memory, settings, length, tap_open);
}

static int change_reports(void *memory, const void *settings, size_t length, __u64 now)
{
	(void)now;
	return take_reports(memory, settings, length, tap_change);
}

static __u64 look_again(void *memory, __u64 now, struct stage_output *output)
{
	(void)memory;
	(void)output;
	return now + LOOK;
}

static __u32 named_clock(const void *memory)
{
	return ((const struct state *)memory)->clock;
}

/* Nothing is encoded here that could carry more along. */
static void ignore_lost(void *memory, unsigned percent)
{
	(void)memory;
	(void)percent;
}

const struct stage_type stage_reports = {
	.bytes = sizeof(struct state),
	.open = open_reports,
	.change = change_reports,
	.close = close_stage,
	.packet = pass_packet,
	.tick = look_again,
	.report = report,
	.ends = 1,
	.clock = named_clock,
	.lost = ignore_lost,
};

const struct stage_type stage_transcode = {
	.bytes = sizeof(struct state),
	.open = open_transcoder,
	.change = change_transcoder,
	.close = close_stage,
	.packet = put_packet,
	.tick = tick_transcoder,
	.report = report,
	.ends = 1,
	.clock = clock_of,
	.lost = note_lost,
};

const struct stage_type stage_tap = {
	.bytes = sizeof(struct state),
	.open = open_tap,
	.change = change_tap,
	.close = close_stage,
	.packet = pass_packet,
	.tick = never,
	.report = report,
};
