/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "codec_kind.h"

#define HEADER CODEC_ALIGN

struct decoder {
	const struct codec_kind *kind;
	uint32_t rate;
};

struct encoder {
	const struct codec_kind *kind;
	uint32_t frame; /* samples of 10 ms, of which it takes whole ones */
};

static const struct codec_kind *const kinds[CODECS] = {
	[CODEC_PCMU] = &codec_pcmu, [CODEC_PCMA] = &codec_pcma, [CODEC_G722] = &codec_g722,
	[CODEC_G729] = &codec_g729, [CODEC_OPUS] = &codec_opus,
};

_Static_assert(sizeof(struct decoder) <= HEADER && sizeof(struct encoder) <= HEADER, "state follows header");

static uint32_t rate_of(const struct codec_kind *kind, const struct codec_settings *settings)
{
	if (!settings->rate)
		return kind->rate ? kind->rate : 48000;
	if (kind->rate)
		return settings->rate == kind->rate ? kind->rate : 0;
	return settings->rate == 8000 || settings->rate == 16000 || settings->rate == 48000 ? settings->rate
											    : 0;
}

static uint32_t rounded(size_t bytes)
{
	return (uint32_t)((HEADER + bytes + CODEC_ALIGN - 1) / CODEC_ALIGN * CODEC_ALIGN);
}

int codec_look_up(unsigned number, const struct codec_settings *settings, struct codec_facts *facts)
{
	const struct codec_kind *kind = number < CODECS ? kinds[number] : NULL;

	if (!kind || !rate_of(kind, settings))
		return -1;
	*facts = (struct codec_facts){
		.rate = rate_of(kind, settings),
		.clock_rate = kind->clock_rate,
		.slot = kind->slot,
		.packet_ms = kind->packet_ms,
		.decoder_bytes = rounded(kind->decoder_bytes()),
		.encoder_bytes = rounded(kind->encoder_bytes()),
	};
	return 0;
}

unsigned codec_ptime(unsigned number, unsigned wanted)
{
	unsigned bounded = wanted < 10 ? 10 : wanted > 60 ? 60 : wanted;

	return number < CODECS ? kinds[number]->ptime(bounded) : 0;
}

static void *decoder_state(const struct decoder *decoder)
{
	return (uint8_t *)decoder + HEADER;
}

static void *encoder_state(const struct encoder *encoder)
{
	return (uint8_t *)encoder + HEADER;
}

struct decoder *decoder_open(void *memory, unsigned number, const struct codec_settings *settings)
{
	struct decoder *decoder = memory;
	struct codec_facts facts;

	if (codec_look_up(number, settings, &facts))
		return NULL;
	*decoder = (struct decoder){kinds[number], facts.rate};
	return decoder->kind->open_decoder(decoder_state(decoder), facts.rate) ? NULL : decoder;
}

void decoder_close(struct decoder *decoder)
{
	if (decoder->kind->close_decoder)
		decoder->kind->close_decoder(decoder_state(decoder));
}

int decoder_duration(const struct decoder *decoder, const uint8_t *payload, size_t length)
{
	return length ? decoder->kind->duration(payload, length, decoder->rate) : CODEC_MALFORMED;
}

int decoder_decode(struct decoder *decoder, const uint8_t *payload, size_t length, int16_t *pcm,
		   unsigned room)
{
	int samples = decoder_duration(decoder, payload, length);

	if (samples < 0)
		return samples;
	if ((unsigned)samples > room)
		return CODEC_NO_ROOM;
	return decoder->kind->decode(decoder_state(decoder), payload, length, pcm, room);
}

int codec_translates(unsigned from, unsigned to)
{
	return from < CODECS && to < CODECS && kinds[from]->translate && kinds[to]->translate;
}

int decoder_translate(struct decoder *decoder, const struct encoder *encoder, const uint8_t *payload,
		      size_t length, uint8_t *result, size_t room)
{
	if (length > room || !decoder->kind->translate)
		return 0;
	return decoder->kind->translate(decoder_state(decoder), encoder->kind, payload, length, result);
}

int decoder_conceal(struct decoder *decoder, const uint8_t *next, size_t length, int16_t *pcm,
		    unsigned samples)
{
	return decoder->kind->conceal(decoder_state(decoder), next, length, pcm, samples);
}

int decoder_ends_talk(const struct decoder *decoder, const uint8_t *payload, size_t length)
{
	return decoder->kind->ends_talk(payload, length);
}

struct encoder *encoder_open(void *memory, unsigned number, const struct codec_settings *settings)
{
	struct encoder *encoder = memory;
	struct codec_facts facts;

	if (codec_look_up(number, settings, &facts))
		return NULL;
	*encoder = (struct encoder){kinds[number], facts.rate / 100};
	return encoder->kind->open_encoder(encoder_state(encoder), facts.rate, settings) ? NULL : encoder;
}

void encoder_close(struct encoder *encoder)
{
	if (encoder->kind->close_encoder)
		encoder->kind->close_encoder(encoder_state(encoder));
}

void encoder_expect(struct encoder *encoder, unsigned lost)
{
	if (encoder->kind->expect)
		encoder->kind->expect(encoder_state(encoder), lost);
}

int encoder_encode(struct encoder *encoder, const int16_t *pcm, unsigned samples, uint8_t *payload,
		   size_t room, unsigned *skipped, unsigned *rest)
{
	*skipped = *rest = 0;
	if (!samples || samples % encoder->frame)
		return CODEC_MALFORMED;
	return encoder->kind->encode(encoder_state(encoder), pcm, samples, payload, room, skipped, rest);
}
