/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * G.729 (RFC 3551 §4.5.6): frames of 10 ms and 10 bytes; with Annex B a packet may end with a silence
 * descriptor of 2 bytes, after which nothing is sent until it changes or somebody speaks.
 */
#include <string.h>

#include <bcg729/decoder.h>
#include <bcg729/encoder.h>

#include "codec_kind.h"

#define RATE	   8000
#define FRAME	   80			    /* samples */
#define VOICE	   10			    /* bytes */
#define DESCRIPTOR 2			    /* bytes */
#define SLOT	   (8 * VOICE + DESCRIPTOR) /* 80 ms and more */

struct g729_decoder {
	bcg729DecoderChannelContextStruct *channel;
};

struct g729_encoder {
	bcg729EncoderChannelContextStruct *channel;
};

static unsigned any_ptime(unsigned wanted)
{
	return wanted / 10 * 10;
}

static size_t decoder_bytes(void)
{
	return sizeof(struct g729_decoder);
}

static size_t encoder_bytes(void)
{
	return sizeof(struct g729_encoder);
}

static int open_decoder(void *state, uint32_t rate)
{
	struct g729_decoder *decoder = state;

	(void)rate;
	decoder->channel = initBcg729DecoderChannel();
	return decoder->channel ? 0 : -1;
}

static void close_decoder(void *state)
{
	closeBcg729DecoderChannel(((struct g729_decoder *)state)->channel);
}

static int duration(const uint8_t *payload, size_t length, uint32_t rate)
{
	size_t over = length % VOICE;

	(void)payload;
	(void)rate;
	if (length > SLOT || (over && over != DESCRIPTOR))
		return CODEC_MALFORMED;
	return (int)(length / VOICE + over / DESCRIPTOR) * FRAME;
}

static int decode(void *state, const uint8_t *payload, size_t length, int16_t *pcm, unsigned room)
{
	struct g729_decoder *decoder = state;
	int samples = 0;

	(void)room;
	for (; length >= VOICE; length -= VOICE, payload += VOICE, samples += FRAME)
		bcg729Decoder(decoder->channel, payload, VOICE, 0, 0, 0, pcm + samples);
	if (length) {
		bcg729Decoder(decoder->channel, payload, DESCRIPTOR, 0, 1, 0, pcm + samples);
		samples += FRAME;
	}
	return samples;
}

/* The decoder makes comfort noise instead, if it has been told of silence. */
static int conceal(void *state, const uint8_t *next, size_t length, int16_t *pcm, unsigned samples)
{
	struct g729_decoder *decoder = state;

	(void)next;
	(void)length;
	for (; samples >= FRAME; samples -= FRAME, pcm += FRAME)
		bcg729Decoder(decoder->channel, NULL, 0, 1, 0, 0, pcm);
	return 0;
}

static int ends_talk(const uint8_t *payload, size_t length)
{
	(void)payload;
	return length % VOICE == DESCRIPTOR;
}

static int open_encoder(void *state, uint32_t rate, const struct codec_settings *settings)
{
	struct g729_encoder *encoder = state;

	(void)rate;
	encoder->channel = initBcg729EncoderChannel(settings->dtx ? 1 : 0);
	return encoder->channel ? 0 : -1;
}

static void close_encoder(void *state)
{
	closeBcg729EncoderChannel(((struct g729_encoder *)state)->channel);
}

static int encode(void *state, const int16_t *pcm, unsigned samples, uint8_t *payload, size_t room,
		  unsigned *skipped, unsigned *rest)
{
	struct g729_encoder *encoder = state;
	int length = 0;

	if (room < samples / FRAME * VOICE)
		return CODEC_NO_ROOM;
	for (unsigned done = 0; done < samples; done += FRAME) {
		uint8_t frame[VOICE], bytes = 0;

		bcg729Encoder(encoder->channel, pcm + done, frame, &bytes);
		memcpy(payload + length, frame, bytes);
		length += bytes;
		if (!bytes && !length)
			*skipped += FRAME;
		if (bytes != VOICE && length) {
			*rest = samples - done - FRAME;
			break;
		}
	}
	return length;
}

const struct codec_kind codec_g729 = {
	.rate = RATE,
	.clock_rate = RATE,
	.slot = SLOT,
	.packet_ms = 90,
	.ptime = any_ptime,
	.decoder_bytes = decoder_bytes,
	.encoder_bytes = encoder_bytes,
	.open_decoder = open_decoder,
	.close_decoder = close_decoder,
	.duration = duration,
	.decode = decode,
	.conceal = conceal,
	.ends_talk = ends_talk,
	.open_encoder = open_encoder,
	.close_encoder = close_encoder,
	.encode = encode,
};
