/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Comfort noise as RFC 3389 describes it: a level in dBov and, optionally, the shape of the spectrum. */
#ifndef VOXDP_NOISE_H
#define VOXDP_NOISE_H

#include <stddef.h>
#include <stdint.h>

#define NOISE_ORDER   10
#define NOISE_PAYLOAD (1 + NOISE_ORDER) /* bytes that noise_describe writes */

struct noise {
	uint32_t seed;
	float gain;		       /* of the excitation */
	float reflection[NOISE_ORDER]; /* 0 beyond what the payload named */
	float lattice[NOISE_ORDER];
};

void noise_open(struct noise *noise, uint32_t seed);

/* Takes over what a payload describes; 0, or -1: it is none (empty). Further coefficients are ignored. */
int noise_update(struct noise *noise, const uint8_t *payload, size_t length);

void noise_make(struct noise *noise, int16_t *pcm, unsigned count);

/* Describes `count` samples in a payload of NOISE_PAYLOAD bytes. */
void noise_describe(const int16_t *pcm, unsigned count, uint8_t *payload);

/* Level of sound in dBov, 0 (a full-scale square wave) down to -127. */
float noise_level(const int16_t *pcm, unsigned count);

#endif
