/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "plc.h"

#include <string.h>

#include "correlate.h"

#define FULL_MS	   10 /* made-up sound is as loud as the last heard for so long */
#define SILENT_MS  60 /* and silent after so long */
#define JOIN_MS	   4
#define HISTORY_MS 40

void plc_open(struct plc *plc, uint32_t rate)
{
	memset(plc, 0, sizeof(*plc));
	plc->rate = rate;
}

static unsigned milliseconds(const struct plc *plc, unsigned count)
{
	return plc->rate / 1000 * count;
}

static void remember(struct plc *plc, const int16_t *pcm, unsigned count)
{
	unsigned span = milliseconds(plc, HISTORY_MS), part;

	if (count > span) {
		pcm += count - span;
		count = span;
	}
	part = span - plc->place < count ? span - plc->place : count;
	memcpy(plc->history + plc->place, pcm, part * sizeof(*pcm));
	memcpy(plc->history, pcm + part, (count - part) * sizeof(*pcm));
	plc->place = (plc->place + count) % span;
	plc->heard = 1;
}

/* Turns the ring until its newest sample is the last; returns what is behind it. */
static const int16_t *straighten(struct plc *plc)
{
	unsigned span = milliseconds(plc, HISTORY_MS), old = span - plc->place;
	int16_t turned[PLC_HISTORY];

	memcpy(turned, plc->history + plc->place, old * sizeof(*turned));
	memcpy(turned + old, plc->history, plc->place * sizeof(*turned));
	memcpy(plc->history, turned, span * sizeof(*turned));
	plc->place = 0;
	return plc->history + span;
}

static int16_t blend(int from, int to, unsigned place, unsigned length)
{
	return (int16_t)(from + (to - from) * (int)place / (int)length);
}

/*
 * The last pitch period becomes a loop: its end is bent towards the sample before its beginning, over a
 * quarter of it, so that it follows itself without a step.
 */
static void take_period(struct plc *plc, const int16_t *end)
{
	unsigned window = milliseconds(plc, 20), least = milliseconds(plc, 5) / 2, quarter;

	plc->pitch = correlate_lag(end - window, window, least, milliseconds(plc, 15));
	plc->phase = 0;
	quarter = plc->pitch / 4;
	memcpy(plc->period, end - plc->pitch, plc->pitch * sizeof(*plc->period));
	for (unsigned i = 0; i < quarter; i++) {
		int16_t *bent = &plc->period[plc->pitch - quarter + i];

		*bent = blend(*bent, *(end - plc->pitch - quarter + i), i + 1, quarter);
	}
}

/* Loudness, of 65536, of the sample made up `age` samples after the last heard. */
static int32_t loudness(const struct plc *plc, unsigned age)
{
	unsigned full = milliseconds(plc, FULL_MS), silent = milliseconds(plc, SILENT_MS);

	if (age <= full)
		return 65536;
	return age >= silent ? 0 : (int32_t)(65536ULL * (silent - age) / (silent - full));
}

static int16_t next_sample(struct plc *plc)
{
	int32_t gain = loudness(plc, plc->concealed++);
	int16_t sample = plc->period[plc->phase];

	plc->phase = plc->phase + 1 < plc->pitch ? plc->phase + 1 : 0;
	return (int16_t)((int64_t)sample * gain / 65536);
}

static int16_t clipped(int sample)
{
	return (int16_t)(sample > INT16_MAX ? INT16_MAX : sample < INT16_MIN ? INT16_MIN : sample);
}

/* The step between the last sample heard and the one that preceded the loop is taken away over JOIN_MS. */
static void begin(struct plc *plc, int16_t *pcm, unsigned count)
{
	const int16_t *end = straighten(plc);
	unsigned join = milliseconds(plc, JOIN_MS);
	int step;

	take_period(plc, end);
	step = end[-1] - *(end - plc->pitch - 1);
	for (unsigned i = 0; i < count; i++) {
		int offset = i < join ? step * (int)(join - i) / (int)join : 0;

		pcm[i] = clipped(next_sample(plc) + offset);
	}
}

void plc_fill(struct plc *plc, int16_t *pcm, unsigned count)
{
	if (!plc->heard) {
		memset(pcm, 0, count * sizeof(*pcm));
		return;
	}
	if (!plc->concealed)
		begin(plc, pcm, count);
	else
		for (unsigned i = 0; i < count; i++)
			pcm[i] = next_sample(plc);
	remember(plc, pcm, count);
}

void plc_good(struct plc *plc, int16_t *pcm, unsigned count)
{
	if (plc->concealed) {
		unsigned join = milliseconds(plc, JOIN_MS);

		join = join < count ? join : count;
		for (unsigned i = 0; i < join; i++)
			pcm[i] = blend(next_sample(plc), pcm[i], i + 1, join);
		plc->concealed = 0;
	}
	remember(plc, pcm, count);
}
