/* SPDX-License-Identifier: GPL-3.0-or-later */
/* PCMU and PCMA (RFC 3551 §4.5.14). */
#include "codec_kind.h"
#include "g711.h"
#include "plc.h"

#define RATE 8000
#define SLOT 640 /* 80 ms */

static unsigned any_ptime(unsigned wanted)
{
	return wanted / 10 * 10;
}

static size_t decoder_bytes(void)
{
	return sizeof(struct plc);
}

static size_t encoder_bytes(void)
{
	return 0;
}

static int open_decoder(void *state, uint32_t rate)
{
	plc_open(state, rate);
	return 0;
}

static int duration(const uint8_t *payload, size_t length, uint32_t rate)
{
	(void)payload;
	(void)rate;
	return length <= SLOT ? (int)length : CODEC_MALFORMED;
}

static int decode_ulaw(void *state, const uint8_t *payload, size_t length, int16_t *pcm, unsigned room)
{
	(void)room;
	g711_from_ulaw(payload, length, pcm);
	plc_good(state, pcm, (unsigned)length);
	return (int)length;
}

static int decode_alaw(void *state, const uint8_t *payload, size_t length, int16_t *pcm, unsigned room)
{
	(void)room;
	g711_from_alaw(payload, length, pcm);
	plc_good(state, pcm, (unsigned)length);
	return (int)length;
}

static int conceal(void *state, const uint8_t *next, size_t length, int16_t *pcm, unsigned samples)
{
	(void)next;
	(void)length;
	plc_fill(state, pcm, samples);
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
		.decoder_bytes = decoder_bytes, .encoder_bytes = encoder_bytes,                              \
		.open_decoder = open_decoder, .duration = duration, .decode = decode_##law,                  \
		.conceal = conceal, .ends_talk = never_ends_talk, .open_encoder = open_encoder,              \
		.encode = encode_##law,                                                                      \
	}

const struct codec_kind codec_pcmu = G711(ulaw);
const struct codec_kind codec_pcma = G711(alaw);
