/* SPDX-License-Identifier: GPL-3.0-or-later */
/* PCMU and PCMA (RFC 3551 §4.5.14). */
#include <string.h>

#include "codec_kind.h"
#include "g711.h"
#include "plc.h"

#define RATE 8000
#define SLOT 640 /* 80 ms */
#define KEPT 320 /* codes: the 40 ms that concealment looks back on */

static unsigned any_ptime(unsigned wanted)
{
	return wanted / 10 * 10;
}

/* Concealment has to know the sound before a loss; of what was translated it is told when there is one. */
struct g711_decoder {
	struct plc plc;
	void (*expand)(const uint8_t *codes, size_t count, int16_t *pcm);
	uint32_t untold; /* codes */
	uint8_t codes[KEPT];
};

static size_t decoder_bytes(void)
{
	return sizeof(struct g711_decoder);
}

static size_t encoder_bytes(void)
{
	return 0;
}

static int open_ulaw(void *state, uint32_t rate)
{
	struct g711_decoder *decoder = state;

	plc_open(&decoder->plc, rate);
	decoder->expand = g711_from_ulaw;
	decoder->untold = 0;
	return 0;
}

static int open_alaw(void *state, uint32_t rate)
{
	struct g711_decoder *decoder = state;

	open_ulaw(state, rate);
	decoder->expand = g711_from_alaw;
	return 0;
}

static int duration(const uint8_t *payload, size_t length, uint32_t rate)
{
	(void)payload;
	(void)rate;
	return length <= SLOT ? (int)length : CODEC_MALFORMED;
}

static void tell(struct g711_decoder *decoder)
{
	int16_t pcm[KEPT];

	if (!decoder->untold)
		return;
	decoder->expand(decoder->codes, decoder->untold, pcm);
	plc_good(&decoder->plc, pcm, decoder->untold);
	decoder->untold = 0;
}

static void keep(struct g711_decoder *decoder, const uint8_t *codes, uint32_t count)
{
	uint32_t stay;

	if (count > KEPT) {
		codes += count - KEPT;
		count = KEPT;
	}
	stay = decoder->untold < KEPT - count ? decoder->untold : KEPT - count;
	memmove(decoder->codes, decoder->codes + decoder->untold - stay, stay);
	memcpy(decoder->codes + stay, codes, count);
	decoder->untold = stay + count;
}

static int decode(void *state, const uint8_t *payload, size_t length, int16_t *pcm, unsigned room)
{
	struct g711_decoder *decoder = state;

	(void)room;
	tell(decoder);
	decoder->expand(payload, length, pcm);
	plc_good(&decoder->plc, pcm, (unsigned)length);
	return (int)length;
}

static int translate(void *state, const struct codec_kind *to, const uint8_t *payload, size_t length,
		     uint8_t *result)
{
	struct g711_decoder *decoder = state;
	int ulaw = decoder->expand == g711_from_ulaw;

	if (decoder->plc.concealed)
		return 0;
	keep(decoder, payload, (uint32_t)length);
	if (to == (ulaw ? &codec_pcmu : &codec_pcma))
		memcpy(result, payload, length);
	else if (ulaw)
		g711_ulaw_to_alaw(payload, length, result);
	else
		g711_alaw_to_ulaw(payload, length, result);
	return (int)length;
}

static int conceal(void *state, const uint8_t *next, size_t length, int16_t *pcm, unsigned samples)
{
	struct g711_decoder *decoder = state;

	(void)next;
	(void)length;
	tell(decoder);
	plc_fill(&decoder->plc, pcm, samples);
	return 0;
}

static int never_ends_talk(const uint8_t *payload, size_t length)
{
	(void)payload;
	(void)length;
	return 0;
}

static int open_encoder(void *state, uint32_t rate, const struct codec_settings *settings)
{
	(void)state;
	(void)rate;
	(void)settings;
	return 0;
}

static int encode_ulaw(void *state, const int16_t *pcm, unsigned samples, uint8_t *payload, size_t room,
		       unsigned *skipped, unsigned *rest)
{
	(void)state;
	(void)skipped;
	(void)rest;
	if (samples > room)
		return CODEC_NO_ROOM;
	g711_to_ulaw(pcm, samples, payload);
	return (int)samples;
}

static int encode_alaw(void *state, const int16_t *pcm, unsigned samples, uint8_t *payload, size_t room,
		       unsigned *skipped, unsigned *rest)
{
	(void)state;
	(void)skipped;
	(void)rest;
	if (samples > room)
		return CODEC_NO_ROOM;
	g711_to_alaw(pcm, samples, payload);
	return (int)samples;
}

#define G711(law)                                                                                            \
	{                                                                                                    \
		.rate = RATE, .clock_rate = RATE, .slot = SLOT, .packet_ms = SLOT / 8, .ptime = any_ptime,   \
		.decoder_bytes = decoder_bytes, .encoder_bytes = encoder_bytes, .open_decoder = open_##law,  \
		.duration = duration, .decode = decode, .translate = translate, .conceal = conceal,          \
		.ends_talk = never_ends_talk, .open_encoder = open_encoder, .encode = encode_##law,          \
	}

const struct codec_kind codec_pcmu = G711(ulaw);
const struct codec_kind codec_pcma = G711(alaw);
