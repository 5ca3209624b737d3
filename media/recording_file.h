/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The bytes of a recording's file, WAV or Opus in Ogg, made of sound and kept until they are taken. */
#ifndef VOXDP_RECORDING_FILE_H
#define VOXDP_RECORDING_FILE_H

#include <stddef.h>
#include <stdint.h>

struct recording_file {
	uint8_t *bytes; /* RECORDER_BUFFER of them */
	size_t filled;
	unsigned channels;
	uint32_t rate;
	struct recording_coder *coder; /* of Opus; NULL: samples as they are */
};

/* 0 or an errno. format: enum recording_format. */
int recording_file_open(struct recording_file *file, unsigned format, uint32_t rate, unsigned channels);
void recording_file_close(struct recording_file *file);

/* 20 ms of sound, `count` samples of each channel; returns how many bytes had no room. */
size_t recording_file_add(struct recording_file *file, const int16_t *pcm, unsigned count);

/* What ends the file; returns how many bytes had no room. */
size_t recording_file_end(struct recording_file *file);

size_t recording_file_take(struct recording_file *file, uint8_t *bytes, size_t room);

#endif
