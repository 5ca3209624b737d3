/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How late packets come: the least time on the way, and the delay beyond it that nearly all of them make. */
#ifndef VOXDP_DELAY_H
#define VOXDP_DELAY_H

#include <stdint.h>

#define DELAY_BINS   40
#define DELAY_BIN_US 5000

struct delay {
	float bins[DELAY_BINS]; /* how many packets came so much later than the earliest, the newer the
				   weightier */
	float total, weight;
	int64_t media;		     /* us: time stamps, unwrapped */
	int64_t least, least_before; /* us: least of arrival minus media, in this window and the last */
	uint64_t window;	     /* us: when this window began */
	int64_t target;		     /* us beyond the least */
	int64_t floor;		     /* us that the target keeps to, even where packets come earlier */
	int64_t us_per_tick;	     /* times 2^24 */
	uint32_t timestamp;
	uint32_t late_in_row;
	uint8_t known;
};

void delay_open(struct delay *delay, uint32_t clock_rate);

/* A packet came; `now` in us. */
void delay_note(struct delay *delay, uint32_t timestamp, uint64_t now);

/* The time stamp's time, in us, on an axis without wraps. */
int64_t delay_media(const struct delay *delay, uint32_t timestamp);

/* When the packet of this time stamp should be played, in us. */
int64_t delay_due(const struct delay *delay, uint32_t timestamp);

#endif
