/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Where a target's packets and news go: nowhere, but not beyond what they may be. */
#ifndef VOXDP_FUZZ_SINK_H
#define VOXDP_FUZZ_SINK_H

#include "require.h"
#include "transcoder.h"

static uint8_t sent[CODEC_PAYLOAD_MOST + 12];

static uint8_t *room(void *context)
{
	(void)context;
	return sent;
}

static void send(void *context, size_t length)
{
	(void)context;
	REQUIRE(length <= sizeof(sent));
}

static void tell(void *context, const struct transcoder_news *news)
{
	(void)context;
	REQUIRE(news->digit < 16);
}

#endif
