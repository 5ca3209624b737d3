/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The stage of a flow that passes as it is, but for what is put into it or taken out. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "stage_transcode.h"

struct state {
	struct tap tap;
	struct inserter *inserter; /* in one block of its own */
	struct stage_done done;
};

static int read_settings(struct insert_stage *wanted, const void *settings, size_t length)
{
	if (length != sizeof(*wanted))
		return EINVAL;
	memcpy(wanted, settings, length);
	return stage_orders_check(&wanted->orders);
}

static void destroy(struct inserter *inserter)
{
	inserter_close(inserter);
	free(inserter);
}

/* Another codec: what was being played goes with the former. */
static int replace(struct state *state, struct inserter_settings *settings)
{
	struct inserter *fresh;
	void *memory;
	int error = stage_draw_names(&settings->sender);

	if (error)
		return error;
	memory = stage_memory(inserter_bytes(settings));
	fresh = memory ? inserter_open(memory, settings) : NULL;
	if (!fresh) {
		free(memory);
		return EINVAL;
	}
	if (state->inserter)
		destroy(state->inserter);
	state->inserter = fresh;
	state->done.play = 0;
	return 0;
}

static int change_stage(void *memory, const void *settings, size_t length, __u64 now)
{
	struct state *state = memory;
	struct insert_stage wanted;
	int error = read_settings(&wanted, settings, length);

	(void)now;
	if (error)
		return error;
	if (inserter_change(state->inserter, &wanted.inserter))
		error = replace(state, &wanted.inserter);
	if (error)
		return error;
	tap_change(&state->tap, &wanted.tap);
	return stage_orders_follow(&state->done, &wanted.orders, &state->inserter->clip,
				   state->inserter->sender);
}

static void close_stage(void *memory)
{
	struct state *state = memory;

	tap_close(&state->tap);
	destroy(state->inserter);
}

static int open_stage(void *memory, const void *settings, size_t length, __u64 now)
{
	struct state *state = memory;
	struct insert_stage wanted;
	int error = read_settings(&wanted, settings, length);

	(void)now;
	state->tap.socket = -1;
	if (!error)
		error = replace(state, &wanted.inserter);
	if (error)
		return error;
	tap_open(&state->tap, &wanted.tap);
	stage_orders_resume(&state->done, &wanted.orders, &state->inserter->clip, state->inserter->sender);
	return 0;
}

static void put_packet(void *memory, __u8 *rtp, size_t length, __u64 now, struct stage_output *output)
{
	struct state *state = memory;
	const struct packet_sink sink = stage_sink(output);
	const struct transcoder_ear ear = stage_ear(output);

	tap_copy(&state->tap, rtp, length, now);
	inserter_put(state->inserter, rtp, length, now, &sink, &ear);
}

static __u64 tick(void *memory, __u64 now, struct stage_output *output)
{
	struct state *state = memory;
	const struct packet_sink sink = stage_sink(output);
	const struct transcoder_ear ear = stage_ear(output);

	return inserter_tick(state->inserter, now, &sink, &ear);
}

static size_t report(const void *memory, void *place, size_t space)
{
	const struct state *state = memory;
	const struct stage_report counted = {
		.transcoder.sender = state->inserter->sender->counts,
		.tap = state->tap.counts,
		.rides = (uint64_t)inserter_rides(state->inserter),
	};

	if (space < sizeof(counted))
		return 0;
	memcpy(place, &counted, sizeof(counted));
	return sizeof(counted);
}

const struct stage_type stage_insert = {
	.bytes = sizeof(struct state),
	.open = open_stage,
	.change = change_stage,
	.close = close_stage,
	.packet = put_packet,
	.tick = tick,
	.report = report,
};
