/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "noise.h"

#include <math.h>
#include <string.h>

#define FULL_SCALE 32768.0f
#define LEAST	   -127.0f
#define ZERO	   127	 /* of a quantized reflection coefficient (RFC 3389 §3) */
#define FLATTEST   0.98f /* largest reflection coefficient: the filter stays stable */

void noise_open(struct noise *noise, uint32_t seed)
{
	memset(noise, 0, sizeof(*noise));
	noise->seed = seed;
}

/* The lattice amplifies white noise by the root of 1/prod(1 - k²), which the excitation makes up for. */
int noise_update(struct noise *noise, const uint8_t *payload, size_t length)
{
	float loss = 1;

	if (!length)
		return -1;
	for (size_t i = 0; i < NOISE_ORDER; i++) {
		float k = i + 1 < length ? ((float)payload[i + 1] - ZERO) / 128 : 0;

		k = k > FLATTEST ? FLATTEST : k < -FLATTEST ? -FLATTEST : k;
		noise->reflection[i] = k;
		loss *= 1 - k * k;
	}
	noise->gain = FULL_SCALE * powf(10, -(float)(payload[0] & 127) / 20) * sqrtf(loss);
	return 0;
}

/* Uniform, of variance 1. */
static float white(struct noise *noise)
{
	noise->seed = noise->seed * 1664525 + 1013904223;
	return (float)(int32_t)noise->seed * (1.7320508f / 2147483648.0f);
}

/* One sample through the all-pole lattice of the reflection coefficients. */
static float shaped(struct noise *noise, float excitation)
{
	float forward = excitation;

	for (int i = NOISE_ORDER - 1; i >= 0; i--) {
		forward -= noise->reflection[i] * noise->lattice[i];
		if (i + 1 < NOISE_ORDER)
			noise->lattice[i + 1] = noise->lattice[i] + noise->reflection[i] * forward;
	}
	noise->lattice[0] = forward;
	return forward;
}

void noise_make(struct noise *noise, int16_t *pcm, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		float sample = shaped(noise, noise->gain * white(noise));

		pcm[i] = (int16_t)(sample > INT16_MAX ? INT16_MAX : sample < INT16_MIN ? INT16_MIN : sample);
	}
}

float noise_level(const int16_t *pcm, unsigned count)
{
	int64_t energy = 0;
	float level;

	for (unsigned i = 0; i < count; i++)
		energy += pcm[i] * pcm[i];
	if (!energy)
		return LEAST;
	level = 10 * log10f((float)energy / (float)count / (FULL_SCALE * FULL_SCALE));
	return level < LEAST ? LEAST : level;
}

static void correlations(const int16_t *pcm, unsigned count, double *r)
{
	for (unsigned lag = 0; lag <= NOISE_ORDER; lag++) {
		int64_t sum = 0;

		for (unsigned i = lag; i < count; i++)
			sum += pcm[i] * pcm[i - lag];
		r[lag] = (double)sum;
	}
	r[0] = r[0] * 1.001 + 1;
}

/* Reflection coefficients by Schur's recursion. */
static void reflect(const double *r, float *reflection)
{
	double up[NOISE_ORDER + 1], down[NOISE_ORDER + 1];

	memcpy(up, r, sizeof(up));
	memcpy(down, r, sizeof(down));
	for (unsigned step = 0; step < NOISE_ORDER; step++) {
		double k = -up[step + 1] / down[0];

		reflection[step] = (float)k;
		for (unsigned i = 0; i + step + 1 <= NOISE_ORDER; i++) {
			double u = up[i + step + 1], d = down[i];

			up[i + step + 1] = u + k * d;
			down[i] = d + k * u;
		}
	}
}

void noise_describe(const int16_t *pcm, unsigned count, uint8_t *payload)
{
	double r[NOISE_ORDER + 1];
	float reflection[NOISE_ORDER];

	payload[0] = (uint8_t)lrintf(-noise_level(pcm, count));
	correlations(pcm, count, r);
	reflect(r, reflection);
	for (unsigned i = 0; i < NOISE_ORDER; i++) {
		long quantized = lrintf(reflection[i] * 128) + ZERO;

		payload[i + 1] = (uint8_t)(quantized < 0 ? 0 : quantized > 254 ? 254 : quantized);
	}
}
