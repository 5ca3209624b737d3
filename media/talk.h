/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Does somebody speak? By loudness over a background that is learned, for codecs without a detector of their
 * own. */
#ifndef VOXDP_TALK_H
#define VOXDP_TALK_H

#include <stdint.h>

struct talk {
	float background;  /* dBov */
	uint32_t hangover; /* ms that silence is still taken for talk */
};

void talk_open(struct talk *talk);

/* Whether there is talk in this piece of sound, `ms` long, of the given level in dBov. */
int talk_heard(struct talk *talk, float level, unsigned ms);

#endif
