/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the stages that make RTP have in common: where it goes, its names, and what they are told to play. */
#ifndef VOXDP_STAGE_PARTS_H
#define VOXDP_STAGE_PARTS_H

#include "clip.h"
#include "sender.h"
#include "stage.h"
#include "transcoder.h"

#define STAGE_PATH   128
#define STAGE_DIGITS 16

/*
 * How things are to be, not what to do, for a worker that replaces a dead one is told the same again: what is
 * to happen once has a number, and happens when that number changes.
 */
struct stage_orders {
	uint32_t play;	     /* number of what is played to the flow's target, 0: nothing */
	uint32_t play_times; /* 0: until another number comes */
	uint32_t play_start; /* ms of it that are left out, the first time */
	uint32_t dial;	     /* number of the digits to send */
	uint16_t digit_ms;
	uint16_t digit_pause; /* ms, 0: DTMF_PAUSE_MS */
	uint8_t digit_count;
	uint8_t digit_volume; /* -dBm0 */
	uint8_t play_mixed;
	uint8_t reserved;
	uint8_t digits[STAGE_DIGITS];
	char play_path[STAGE_PATH];
};

/* What of it has been done. */
struct stage_done {
	uint32_t play, dial;
};

/* 0 or EINVAL. */
int stage_orders_check(const struct stage_orders *orders);

/* 0 or an errno: digits and clip are as they were where theirs was refused. */
int stage_orders_follow(struct stage_done *done, const struct stage_orders *orders, struct clip *clip,
			struct sender *sender);

/* The same for a worker in a dead one's place: digits have been sent, and a clip may be gone by now. */
void stage_orders_resume(struct stage_done *done, const struct stage_orders *orders, struct clip *clip,
			 struct sender *sender);

struct packet_sink stage_sink(struct stage_output *output);
struct transcoder_ear stage_ear(struct stage_output *output);

/* SSRC, first time stamp and first sequence number at random; 0 or an errno. */
int stage_draw_names(struct sender_settings *sender);

/* Memory that coders can live in; NULL where there are no bytes, or none left. */
void *stage_memory(size_t bytes);

#endif
