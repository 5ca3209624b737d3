/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Packet loss concealment for waveform codecs: the last pitch period is repeated, fading out from 10 ms on
 * and silent after 60 ms, and joined to what came before and comes after without a step.
 */
#ifndef VOXDP_PLC_H
#define VOXDP_PLC_H

#include <stdint.h>

#define PLC_RATE_MOST 16000
#define PLC_HISTORY   640 /* samples: 40 ms at 16 kHz */
#define PLC_PITCH     240 /* samples: 15 ms at 16 kHz, the longest period looked for */

struct plc {
	uint32_t rate;	    /* Hz, 8000 or 16000 */
	uint32_t heard;	    /* there is history */
	uint32_t place;	    /* where the next sample goes */
	uint32_t concealed; /* samples made up since the last good one */
	uint32_t pitch;	    /* samples of `period` in use */
	uint32_t phase;
	int16_t history[PLC_HISTORY]; /* a ring of 40 ms */
	int16_t period[PLC_PITCH];
};

void plc_open(struct plc *plc, uint32_t rate);

/* Takes good samples note of; after a loss the first 4 ms of them are joined to what was made up. */
void plc_good(struct plc *plc, int16_t *pcm, unsigned count);

/* Makes up `count` samples. */
void plc_fill(struct plc *plc, int16_t *pcm, unsigned count);

#endif
