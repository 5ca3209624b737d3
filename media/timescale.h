/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Sound made a pitch period shorter or longer without a step, so that a jitter buffer can change its delay.
 */
#ifndef VOXDP_TIMESCALE_H
#define VOXDP_TIMESCALE_H

#include <stdint.h>

#define TIMESCALE_PERIOD_MS 10 /* the most that a call adds or takes away */

/*
 * Takes one period of 2.5 to 10 ms out of `count` samples, in place; returns how many remain: `count`, if
 * they are too few or repeat themselves too little.
 */
unsigned timescale_shorten(int16_t *pcm, unsigned count, uint32_t rate);

/* Repeats one period, in place; `pcm` has room for TIMESCALE_PERIOD_MS more. Returns how many there are now.
 */
unsigned timescale_lengthen(int16_t *pcm, unsigned count, uint32_t rate);

#endif
