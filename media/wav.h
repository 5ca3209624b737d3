/* SPDX-License-Identifier: GPL-3.0-or-later */
/* RIFF/WAVE of 16-bit linear, A-law or µ-law sound: read within its bounds, and its header written. */
#ifndef VOXDP_WAV_H
#define VOXDP_WAV_H

#include <stddef.h>
#include <stdint.h>

#define WAV_HEADER	  44
#define WAV_CHANNELS_MOST 8
#define WAV_UNKNOWN	  0xffffffff /* length of a file that is still being written */

enum wav_format {
	WAV_LINEAR = 1,
	WAV_ALAW = 6,
	WAV_ULAW = 7,
};

struct wav {
	const uint8_t *data;
	uint32_t bytes; /* of data: whole samples of all channels */
	uint32_t rate;	/* Hz, 4000 to 192000 */
	uint16_t channels;
	uint16_t format; /* enum wav_format */
};

enum wav_status {
	WAV_OK = 0,
	WAV_NO_RIFF = -1,
	WAV_NO_FORMAT = -2,	/* no fmt chunk, or one that is too short */
	WAV_NOT_SUPPORTED = -3, /* another coding, width, rate or number of channels */
	WAV_NO_DATA = -4,
};

/* Finds the sound in a file; one that ends early has what is there. An enum wav_status. */
int wav_read(const uint8_t *file, size_t length, struct wav *wav);

/* Writes up to `room` mono samples from sample `first` on, all channels averaged; returns how many. */
unsigned wav_samples(const struct wav *wav, unsigned first, int16_t *pcm, unsigned room);

/* Writes WAV_HEADER bytes for linear sound of that many bytes, or WAV_UNKNOWN. */
void wav_write(uint8_t *header, uint32_t rate, unsigned channels, uint32_t bytes);

#endif
