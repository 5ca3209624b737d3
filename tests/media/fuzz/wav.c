/* SPDX-License-Identifier: GPL-3.0-or-later */
/* WAV files, as an operator or a proxy may give them. */
#include "wav.h"
#include "require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int16_t pcm[64];
	struct wav wav;

	if (wav_read(data, size, &wav) != WAV_OK)
		return 0;
	REQUIRE(wav.data >= data && wav.data + wav.bytes <= data + size);
	for (unsigned first = 0; wav_samples(&wav, first, pcm, 64) && first < 100000; first += 64)
		;
	return 0;
}
