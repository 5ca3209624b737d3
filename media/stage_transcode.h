/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The settings and reports of stages, as they come over the control socket; media/stages.py knows them too.
 * They say how things are to be, not what to do, for a worker that replaces a dead one is given them again:
 * what is to happen once has a number, and happens when that number changes.
 */
#ifndef VOXDP_STAGE_TRANSCODE_H
#define VOXDP_STAGE_TRANSCODE_H

#include "tap.h"
#include "transcoder.h"

#define STAGE_TRANSCODE 1 /* numbers in stage_types.c */
#define STAGE_TAP	2
#define STAGE_PATH	128
#define STAGE_DIGITS	16

struct transcode_stage {
	struct transcoder_settings transcoder; /* ssrc, timestamp and sequence: drawn when it is opened */
	uint32_t play;			       /* number of what is played to the flow's target, 0: nothing */
	uint32_t play_times;		       /* 0: until another number comes */
	uint32_t dial;			       /* number of the digits to send */
	uint16_t digit_ms;
	uint8_t digit_count;
	uint8_t digit_volume; /* -dBm0 */
	uint8_t play_mixed;
	uint8_t reserved[3];
	uint8_t digits[STAGE_DIGITS];
	char play_path[STAGE_PATH];
	struct tap_settings tap;
};

/* Passes packets on as they are, and copies of them to the recorder. */
struct tap_stage {
	struct tap_settings tap;
};

/* What a stage counted. */
struct stage_report {
	struct transcoder_report transcoder; /* all 0 where nothing is transcoded */
	struct tap_counts tap;
};

#endif
