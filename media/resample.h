/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From one sample rate to another, by speexdsp, which takes its memory when opened and none afterwards. */
#ifndef VOXDP_RESAMPLE_H
#define VOXDP_RESAMPLE_H

#include <stdint.h>

struct resampler {
	void *speex; /* NULL: the rates are equal, and sound is copied */
};

/* 0, or -1: out of memory. Rates in Hz. */
int resampler_open(struct resampler *resampler, uint32_t from, uint32_t to);
void resampler_close(struct resampler *resampler);

/* Takes all of `count` samples; returns how many came out, at most `room`. */
unsigned resample(struct resampler *resampler, const int16_t *pcm, unsigned count, int16_t *result,
		  unsigned room);

#endif
