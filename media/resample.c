/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "resample.h"

#include <string.h>

#include <speex/speex_resampler.h>

#define QUALITY 3 /* "VoIP" of speexdsp: aliases below -50 dB */

int resampler_open(struct resampler *resampler, uint32_t from, uint32_t to)
{
	int error = 0;

	resampler->speex = from == to ? NULL : speex_resampler_init(1, from, to, QUALITY, &error);
	return error ? -1 : 0;
}

void resampler_close(struct resampler *resampler)
{
	if (resampler->speex)
		speex_resampler_destroy(resampler->speex);
	resampler->speex = NULL;
}

unsigned resample(struct resampler *resampler, const int16_t *pcm, unsigned count, int16_t *result,
		  unsigned room)
{
	spx_uint32_t taken = count, given = room;

	if (!resampler->speex) {
		given = count < room ? count : room;
		memcpy(result, pcm, given * sizeof(*pcm));
		return given;
	}
	speex_resampler_process_int(resampler->speex, 0, pcm, &taken, result, &given);
	return given;
}
