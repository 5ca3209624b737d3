/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The sixteen tones of dual-tone dialling (ITU-T Q.23): made without clicks, and heard by spandsp's detector.
 */
#ifndef VOXDP_TONE_H
#define VOXDP_TONE_H

#include <stdint.h>

#define TONE_DIGITS   16 /* 0-9 * # A-D, numbered as events are (RFC 4733 §3.2) */
#define TONE_NONE     -1
#define TONE_DETECTOR 60 /* words, for spandsp's state */

struct tone {
	float low[2], high[2]; /* sine and cosine of both oscillators */
	float turn[2][2];      /* by which they turn with each sample */
	float amplitude;
	uint32_t ramp; /* samples that rising and falling takes */
	uint32_t age;
	uint32_t left; /* samples until silence, once it is to end */
	uint8_t on, ending;
};

/* A single sine. */
void tone_start_sine(struct tone *tone, unsigned frequency, uint32_t rate, float dbm0);
void tone_start(struct tone *tone, unsigned digit, uint32_t rate, float dbm0);

/* Lets the tone fall silent within 2 ms. */
void tone_end(struct tone *tone);

/* Writes the tone over `count` samples; silence once it has ended. */
void tone_make(struct tone *tone, int16_t *pcm, unsigned count);

struct tone_detector {
	uint64_t spandsp[TONE_DETECTOR];
	uint32_t rate;
	int16_t digit; /* heard now, or TONE_NONE */
	uint16_t held; /* samples of one of 8 kHz, not yet complete */
	int32_t sum;
};

/* 0, or -1: a rate that is no multiple of 8 kHz. */
int tone_detector_open(struct tone_detector *detector, uint32_t rate);

/* Listens; the digit that is heard now, or TONE_NONE. */
int tone_detect(struct tone_detector *detector, const int16_t *pcm, unsigned count);

/* The number of a digit's character, or TONE_NONE; and the reverse. */
int tone_number(char digit);
char tone_character(unsigned number);

#endif
