/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "timescale.h"

#include <string.h>

#include "correlate.h"

#define ALIKE 0.5f /* least correlation of two periods that are laid over each other */
#define QUIET 4096 /* mean square, -45 dBov: below it nobody hears a period come or go */

static int is_quiet(const int16_t *pcm, unsigned count)
{
	int64_t sum = 0;

	for (unsigned i = 0; i < count; i++)
		sum += pcm[i] * pcm[i];
	return sum <= (int64_t)QUIET * count;
}

/* A period at the beginning that its successor is like, in samples; 0: there is none. */
static unsigned find_period(const int16_t *pcm, unsigned count, uint32_t rate)
{
	unsigned least = rate / 400, most = rate / 1000 * TIMESCALE_PERIOD_MS, lag;

	if (count < 4 * least)
		return 0;
	most = most < count / 2 ? most : count / 2;
	lag = correlate_lag(pcm + most, count - most, least, most);
	if (correlate(pcm, pcm + lag, lag) >= ALIKE || is_quiet(pcm, count))
		return lag;
	return 0;
}

/* `from` fades into `to`; the result may lie on either. */
static void crossfade(const int16_t *from, const int16_t *to, int16_t *result, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		result[i] = (int16_t)(from[i] + (to[i] - from[i]) * (int)(i + 1) / (int)(count + 1));
}

unsigned timescale_shorten(int16_t *pcm, unsigned count, uint32_t rate)
{
	unsigned period = find_period(pcm, count, rate);

	if (!period)
		return count;
	crossfade(pcm, pcm + period, pcm, period);
	memmove(pcm + period, pcm + 2 * period, (count - 2 * period) * sizeof(*pcm));
	return count - period;
}

unsigned timescale_lengthen(int16_t *pcm, unsigned count, uint32_t rate)
{
	unsigned period = find_period(pcm, count, rate);

	if (!period)
		return count;
	memmove(pcm + 2 * period, pcm + period, (count - period) * sizeof(*pcm));
	crossfade(pcm + 2 * period, pcm, pcm + period, period);
	return count + period;
}
