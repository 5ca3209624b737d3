/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Recordings of calls: RTP of both legs comes in, by taps of the engine or the kernel relay's mirror, and
 * comes out as bytes of a file. What a leg does not send is silence, so that both stay in step. It runs in a
 * process of its own.
 *
 * Times are ns of CLOCK_MONOTONIC. Functions return a slot or 0, or a negative errno where they say so.
 */
#ifndef VOXDP_RECORDER_H
#define VOXDP_RECORDER_H

#include <stddef.h>
#include <stdint.h>
#include <linux/types.h>

#include "flow.h"
#include "receiver.h"
#include "tap.h"

#define RECORDER_CODECS 8
#define RECORDER_LEGS	2
#define RECORDER_BUFFER 524288 /* bytes that wait to be taken; what is more is left out and counted */

enum recording_layout {
	RECORDING_MIXED = 0,
	RECORDING_STEREO = 1, /* leg 0 is left */
	RECORDING_FIRST = 2,
	RECORDING_SECOND = 3,
};

enum recording_format {
	RECORDING_WAV = 0,
	RECORDING_OPUS = 1, /* in Ogg */
	RECORDING_PCM = 2,  /* samples alone, 16 bits in the host's order */
};

/* What a leg may send. */
struct recording_leg {
	uint8_t count;
	uint8_t types[RECORDER_CODECS];	  /* payload types */
	uint8_t numbers[RECORDER_CODECS]; /* enum codec_number */
	uint8_t event_type;
	uint8_t noise_type;
};

struct recording_settings {
	uint8_t name[TAP_NAME]; /* of what it is made from: several may be made from the same */
	struct recording_leg legs[RECORDER_LEGS];
	uint32_t rate;	/* Hz: 8000, 16000 or 48000 */
	uint8_t layout; /* enum recording_layout */
	uint8_t format; /* enum recording_format */
	uint8_t reserved[2];
};

struct recording_counts {
	uint64_t packets;
	uint64_t milliseconds; /* written */
	uint64_t concealed;    /* ms made up for lost packets */
	uint64_t left_out;     /* bytes that nobody took in time */
	uint64_t unknown;      /* packets of a codec that was not named */
};

struct recorder;

/* NULL: out of memory. */
struct recorder *recorder_create(unsigned capacity);
void recorder_destroy(struct recorder *recorder);

/* A slot; -EINVAL, -ENOSPC: as many as recorder_create was told, -ENOMEM. */
int recorder_open(struct recorder *recorder, const struct recording_settings *settings, uint64_t now);

/* Other codecs for the legs of a recording under way; 0 or -EINVAL. */
int recorder_change(struct recorder *recorder, int slot, const struct recording_settings *settings);

/* Leaves out what is said from now on, or takes it in again. */
int recorder_pause(struct recorder *recorder, int slot, int paused);

/* A flow of the kernel relay whose copies are a leg of the recording, and of all of its name; slot -1: of
 * none. 0 or -EINVAL. */
int recorder_source(struct recorder *recorder, uint32_t flow, int slot, unsigned leg);

/* Takes in the datagrams of taps that wait at the socket; returns how many. */
int recorder_receive(struct recorder *recorder, int socket);

/* Takes in copies of the kernel relay. */
void recorder_mirror(struct recorder *recorder, const struct copy *copies, unsigned count);

/* Makes sound of what has come, up to a moment before `now`. */
void recorder_tick(struct recorder *recorder, uint64_t now);

/* Takes up to `room` bytes of the file. */
size_t recorder_take(struct recorder *recorder, int slot, uint8_t *bytes, size_t room);

int recorder_count(const struct recorder *recorder, int slot, struct recording_counts *counts);

/* Writes what ends the file; what is left of it can still be taken until recorder_release. */
int recorder_finish(struct recorder *recorder, int slot, uint64_t now);
void recorder_release(struct recorder *recorder, int slot);

#endif
