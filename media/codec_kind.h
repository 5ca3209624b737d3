/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What each codec's file gives to codec.c: its facts, and functions on a state of its own. */
#ifndef VOXDP_CODEC_KIND_H
#define VOXDP_CODEC_KIND_H

#include <stddef.h>

#include "codec.h"

struct codec_kind {
	uint32_t rate;	     /* Hz; 0: any of those that Opus has */
	uint32_t clock_rate; /* Hz */
	uint32_t slot;	     /* bytes */
	uint32_t packet_ms;
	unsigned (*ptime)(unsigned wanted);
	size_t (*decoder_bytes)(void);
	size_t (*encoder_bytes)(void);
	int (*open_decoder)(void *state, uint32_t rate);
	void (*close_decoder)(void *state);
	int (*duration)(const uint8_t *payload, size_t length, uint32_t rate);
	int (*decode)(void *state, const uint8_t *payload, size_t length, int16_t *pcm, unsigned room);
	/* To a payload of the kind `to`, as many bytes; 0: not now. NULL: such a codec cannot. */
	int (*translate)(void *state, const struct codec_kind *to, const uint8_t *payload, size_t length,
			 uint8_t *result);
	int (*conceal)(void *state, const uint8_t *next, size_t length, int16_t *pcm, unsigned samples);
	int (*ends_talk)(const uint8_t *payload, size_t length);
	int (*open_encoder)(void *state, uint32_t rate, const struct codec_settings *settings);
	void (*close_encoder)(void *state);
	void (*expect)(void *state, unsigned lost); /* NULL: such a codec cannot */
	int (*encode)(void *state, const int16_t *pcm, unsigned samples, uint8_t *payload, size_t room,
		      unsigned *skipped, unsigned *rest);
};

extern const struct codec_kind codec_pcmu, codec_pcma, codec_g722, codec_g729, codec_opus;

#endif
