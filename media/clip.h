/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Sound to be played, kept in a file of 16-bit samples in the host's order behind a header, mapped into
 * memory: announcements, music on hold, ringback. The file has to be in memory already (tmpfs), for it is
 * read between packets.
 */
#ifndef VOXDP_CLIP_H
#define VOXDP_CLIP_H

#include <stddef.h>
#include <stdint.h>

#define CLIP_MAGIC 0x50434c56 /* "VLCP" */

struct clip_header {
	uint32_t magic;
	uint32_t rate; /* Hz */
	uint32_t count;
	uint32_t reserved;
};

struct clip {
	const int16_t *samples;
	uint32_t count, rate, place;
	uint32_t times;	 /* still to be played, 0: until it is stopped */
	uint32_t number; /* the caller's name for it */
	void *map;
	size_t bytes;
};

/* 0 or an errno; EINVAL: no clip. A `rate` that is not the file's is EDOM. */
int clip_open(struct clip *clip, const char *path, uint32_t rate, uint32_t times);
void clip_close(struct clip *clip);

/* Begins that much later; beyond the end, at the end. */
void clip_skip(struct clip *clip, uint32_t ms);

/* Writes the next samples, silence after the last; returns whether it goes on. */
int clip_play(struct clip *clip, int16_t *pcm, unsigned count);

#endif
