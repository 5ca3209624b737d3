/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "correlate.h"

#include <math.h>

#define SILENCE 1.0f /* energy below which a stretch is silent */

static float product(const int16_t *one, const int16_t *other, unsigned count)
{
	int64_t sum = 0;

	for (unsigned i = 0; i < count; i++)
		sum += one[i] * other[i];
	return (float)sum;
}

float correlate(const int16_t *one, const int16_t *other, unsigned count)
{
	float energy = product(one, one, count), energy_other = product(other, other, count);

	if (energy < SILENCE || energy_other < SILENCE)
		return energy < SILENCE && energy_other < SILENCE ? 1 : 0;
	return product(one, other, count) / sqrtf(energy * energy_other);
}

/* Compared by product²/energy with its sign, which orders lags as the normalized correlation does. */
unsigned correlate_lag(const int16_t *window, unsigned count, unsigned least, unsigned most)
{
	float energy = product(window - least, window - least, count), best = -INFINITY;
	unsigned lag = least;

	for (unsigned candidate = least; candidate <= most; candidate++) {
		float alike = product(window, window - candidate, count);
		float score = alike * fabsf(alike) / (energy + SILENCE);

		if (score > best) {
			best = score;
			lag = candidate;
		}
		if (candidate == most)
			break;
		energy += (float)window[-1 - (int)candidate] * window[-1 - (int)candidate] -
			  (float)window[(int)count - 1 - (int)candidate] *
				  window[(int)count - 1 - (int)candidate];
	}
	return lag;
}
