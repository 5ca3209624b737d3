/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "talk.h"

#define BEGINNING -50.0f /* dBov: what is taken for background at first */
#define OVER	  9.0f	 /* dB that talk is louder than the background */
#define QUIETEST  -65.0f /* dBov: below it there is never talk */
#define LOUDEST	  -35.0f /* dBov: louder it is no background */
#define RISE	  0.003f /* dB per ms that the background is let rise */
#define HANGOVER  200	 /* ms: pauses between syllables */

void talk_open(struct talk *talk)
{
	*talk = (struct talk){.background = BEGINNING};
}

static void follow(struct talk *talk, float level, unsigned ms)
{
	float rise = RISE * (float)ms;

	talk->background = level < talk->background ? talk->background + (level - talk->background) / 4
			   : level < talk->background + rise ? level
							     : talk->background + rise;
	if (talk->background > LOUDEST)
		talk->background = LOUDEST;
	if (talk->background < QUIETEST)
		talk->background = QUIETEST;
}

int talk_heard(struct talk *talk, float level, unsigned ms)
{
	int loud = level > QUIETEST && level > talk->background + OVER;

	follow(talk, level, ms);
	if (loud)
		talk->hangover = HANGOVER;
	else if (talk->hangover)
		talk->hangover = talk->hangover > ms ? talk->hangover - ms : 0;
	return loud || talk->hangover;
}
