/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "delay.h"

#include <string.h>

#define FRACTION    24
#define WINDOW_US   2000000 /* the least is that of this window and of the one before */
#define JUMP_US	    1000000 /* the time stamps have jumped */
#define LATE_IN_ROW 25	    /* packets beyond the last bin: the way has become longer for good */
#define NEARLY_ALL  0.97f
#define GROWTH	    1.006f /* weight of a packet over the one before it: half is forgotten after 115 */
#define HEAVY	    1e6f
#define PRIOR_BIN   3 /* 20 ms, before anything is known */
#define PRIOR	    10.0f

void delay_open(struct delay *delay, uint32_t clock_rate)
{
	memset(delay, 0, sizeof(*delay));
	delay->us_per_tick = (1000000LL << FRACTION) / clock_rate;
	delay->bins[PRIOR_BIN] = PRIOR;
	delay->total = PRIOR;
	delay->weight = 1;
	delay->target = (PRIOR_BIN + 1) * DELAY_BIN_US;
}

int64_t delay_media(const struct delay *delay, uint32_t timestamp)
{
	int64_t ticks = (int32_t)(timestamp - delay->timestamp);

	return delay->media + (ticks * delay->us_per_tick >> FRACTION);
}

int64_t delay_due(const struct delay *delay, uint32_t timestamp)
{
	int64_t least = delay->least < delay->least_before ? delay->least : delay->least_before;

	return delay_media(delay, timestamp) + least + delay->target;
}

static void begin_anew(struct delay *delay, int64_t transit, uint64_t now)
{
	delay->least = delay->least_before = transit;
	delay->window = now;
	delay->late_in_row = 0;
	delay->known = 1;
}

static void follow_least(struct delay *delay, int64_t transit, uint64_t now)
{
	if (now - delay->window >= WINDOW_US) {
		delay->least_before = delay->least;
		delay->least = transit;
		delay->window = now;
	} else if (transit < delay->least) {
		delay->least = transit;
	}
}

static void lighten(struct delay *delay)
{
	for (unsigned i = 0; i < DELAY_BINS; i++)
		delay->bins[i] /= HEAVY;
	delay->total /= HEAVY;
	delay->weight /= HEAVY;
}

static int64_t wanted(const struct delay *delay)
{
	float sum = 0;
	unsigned bin = 0;

	for (; bin < DELAY_BINS - 1; bin++) {
		sum += delay->bins[bin];
		if (sum >= delay->total * NEARLY_ALL)
			break;
	}
	return (int64_t)(bin + 1) * DELAY_BIN_US > delay->floor ? (int64_t)(bin + 1) * DELAY_BIN_US
								: delay->floor;
}

static void sort_in(struct delay *delay, int64_t excess)
{
	int64_t bin = excess / DELAY_BIN_US;

	delay->weight *= GROWTH;
	delay->bins[bin < DELAY_BINS ? bin : DELAY_BINS - 1] += delay->weight;
	delay->total += delay->weight;
	if (delay->weight > HEAVY)
		lighten(delay);
	delay->target = wanted(delay);
}

void delay_note(struct delay *delay, uint32_t timestamp, uint64_t now)
{
	int64_t transit, least;

	delay->media = delay->known ? delay_media(delay, timestamp) : 0;
	delay->timestamp = timestamp;
	transit = (int64_t)now - delay->media;
	if (!delay->known)
		begin_anew(delay, transit, now);
	least = delay->least < delay->least_before ? delay->least : delay->least_before;
	delay->late_in_row = transit - least > DELAY_BINS * DELAY_BIN_US ? delay->late_in_row + 1 : 0;
	if (transit - least > JUMP_US || least - transit > JUMP_US || delay->late_in_row > LATE_IN_ROW) {
		begin_anew(delay, transit, now);
		return;
	}
	follow_least(delay, transit, now);
	sort_in(delay, transit > least ? transit - least : 0);
}
