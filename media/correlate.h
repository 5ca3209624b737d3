/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How alike two stretches of sound are, and by which lag one is most alike to itself: its pitch. */
#ifndef VOXDP_CORRELATE_H
#define VOXDP_CORRELATE_H

#include <stdint.h>

/*
 * The lag of `least` to `most` samples by which the window is most alike to what precedes it, which has to be
 * there: `most` samples before `window` are read.
 */
unsigned correlate_lag(const int16_t *window, unsigned count, unsigned least, unsigned most);

/* Normalized correlation of two stretches, -1 to 1; 1 where both are silent. */
float correlate(const int16_t *one, const int16_t *other, unsigned count);

#endif
