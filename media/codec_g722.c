/* SPDX-License-Identifier: GPL-3.0-or-later */
/* G.722 at 64 kbit/s: sound of 16 kHz, though its RTP clock is 8 kHz (RFC 3551 §4.5.2). */
#define SPANDSP_EXPOSE_INTERNAL_STRUCTURES
#include <spandsp.h>

#include "codec_kind.h"
#include "plc.h"

#define RATE	 16000
#define BIT_RATE 64000
#define SLOT	 640 /* 80 ms */

struct g722_decoder {
	struct plc plc;
	g722_decode_state_t g722;
};

static unsigned any_ptime(unsigned wanted)
{
	return wanted / 10 * 10;
}

static size_t decoder_bytes(void)
{
	return sizeof(struct g722_decoder);
}

static size_t encoder_bytes(void)
{
	return sizeof(g722_encode_state_t);
}

static int open_decoder(void *state, uint32_t rate)
{
	struct g722_decoder *decoder = state;

	plc_open(&decoder->plc, rate);
	return g722_decode_init(&decoder->g722, BIT_RATE, 0) ? 0 : -1;
}

static int duration(const uint8_t *payload, size_t length, uint32_t rate)
{
	(void)payload;
	(void)rate;
	return length <= SLOT ? 2 * (int)length : CODEC_MALFORMED;
}

static int decode(void *state, const uint8_t *payload, size_t length, int16_t *pcm, unsigned room)
{
	struct g722_decoder *decoder = state;
	int samples = g722_decode(&decoder->g722, pcm, payload, (int)length);

	(void)room;
	plc_good(&decoder->plc, pcm, (unsigned)samples);
	return samples;
}

static int conceal(void *state, const uint8_t *next, size_t length, int16_t *pcm, unsigned samples)
{
	struct g722_decoder *decoder = state;

	(void)next;
	(void)length;
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
	(void)rate;
	(void)settings;
	return g722_encode_init(state, BIT_RATE, 0) ? 0 : -1;
}

static int encode(void *state, const int16_t *pcm, unsigned samples, uint8_t *payload, size_t room,
		  unsigned *skipped, unsigned *rest)
{
	(void)skipped;
	(void)rest;
	if (samples / 2 > room)
		return CODEC_NO_ROOM;
	return g722_encode(state, payload, pcm, (int)samples);
}

const struct codec_kind codec_g722 = {
	.rate = RATE,
	.clock_rate = 8000,
	.slot = SLOT,
	.packet_ms = SLOT / 8,
	.ptime = any_ptime,
	.decoder_bytes = decoder_bytes,
	.encoder_bytes = encoder_bytes,
	.open_decoder = open_decoder,
	.duration = duration,
	.decode = decode,
	.conceal = conceal,
	.ends_talk = never_ends_talk,
	.open_encoder = open_encoder,
	.encode = encode,
};
