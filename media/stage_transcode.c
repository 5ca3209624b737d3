/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The stages of engine flows: one transcodes, plays and dials; one passes on. Both can copy to a recorder. */
#include "stage_transcode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "stage.h"

#define ALIGNMENT 64

struct state {
	struct tap tap;
	struct transcoder *transcoder; /* in one block of its own; NULL: packets pass as they are */
	uint32_t play, dial;
};

/* A stage_output has no face but its functions. */
static __u8 *room(void *context)
{
	return stage_room(context);
}

static void send(void *context, size_t length)
{
	stage_send(context, length);
}

static void tell(void *context, const struct transcoder_news *news)
{
	stage_tell(context, news->kind, news, sizeof(*news));
}

static int draw_names(struct sender_settings *sender)
{
	if (getrandom(&sender->ssrc, sizeof(sender->ssrc), 0) < 0 ||
	    getrandom(&sender->timestamp, sizeof(sender->timestamp), 0) < 0 ||
	    getrandom(&sender->sequence, sizeof(sender->sequence), 0) < 0)
		return errno;
	return 0;
}

static struct transcoder *create(const struct transcoder_settings *settings, uint64_t now)
{
	size_t bytes = (transcoder_bytes(settings) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	void *memory = bytes ? aligned_alloc(ALIGNMENT, bytes) : NULL;
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
		error = draw_names(&settings->sender);
	}
	fresh = error ? NULL : create(settings, now);
	if (!fresh)
		return error ? error : EINVAL;
	if (state->transcoder)
		destroy(state->transcoder);
	state->transcoder = fresh;
	state->play = 0;
	return 0;
}

static int play(struct state *state, const struct transcode_stage *wanted)
{
	int error = 0;

	if (wanted->play == state->play)
		return 0;
	if (!wanted->play)
		transcoder_stop(state->transcoder);
	else
		error = transcoder_play(state->transcoder, wanted->play_path, wanted->play_times,
					wanted->play_mixed);
	if (!error)
		state->play = wanted->play;
	return error;
}

static int dial(struct state *state, const struct transcode_stage *wanted)
{
	if (wanted->dial == state->dial)
		return 0;
	for (unsigned i = 0; i < wanted->digit_count; i++) {
		struct dtmf_digit digit = {wanted->digits[i], wanted->digit_volume, wanted->digit_ms};

		if (transcoder_digit(state->transcoder, &digit))
			return ENOSPC;
	}
	state->dial = wanted->dial;
	return 0;
}

/* 0 or EINVAL. */
static int read_settings(struct transcode_stage *wanted, const void *settings, size_t length)
{
	if (length != sizeof(*wanted))
		return EINVAL;
	memcpy(wanted, settings, length);
	if (wanted->digit_count > STAGE_DIGITS || (wanted->digit_count && !wanted->digit_ms) ||
	    strnlen(wanted->play_path, STAGE_PATH) == STAGE_PATH)
		return EINVAL;
	return 0;
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
	error = play(state, &wanted);
	return error ? error : dial(state, &wanted);
}

static void close_stage(void *memory)
{
	struct state *state = memory;

	tap_close(&state->tap);
	if (state->transcoder)
		destroy(state->transcoder);
}

/*
 * Digits named by the first settings have been sent by the worker that this one replaces. A clip that is gone
 * since must not cost the call its codec.
 */
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
	state->dial = wanted.dial;
	tap_open(&state->tap, &wanted.tap);
	play(state, &wanted);
	return 0;
}

static void put_packet(void *memory, __u8 *rtp, size_t length, __u64 now, struct stage_output *output)
{
	struct state *state = memory;
	const struct transcoder_ear ear = {tell, output};

	tap_copy(&state->tap, rtp, length, now);
	transcoder_put(state->transcoder, rtp, length, now, &ear);
}

static __u64 tick_transcoder(void *memory, __u64 now, struct stage_output *output)
{
	struct state *state = memory;
	const struct packet_sink sink = {room, send, output};
	const struct transcoder_ear ear = {tell, output};

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

const struct stage_type stage_transcode = {
	.bytes = sizeof(struct state),
	.open = open_transcoder,
	.change = change_transcoder,
	.close = close_stage,
	.packet = put_packet,
	.tick = tick_transcoder,
	.report = report,
	.ends = 1,
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
