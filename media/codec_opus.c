/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Opus (RFC 6716, RFC 7587), mono. Its RTP clock is 48 kHz whatever the rate of the sound: a leg whose other
 * side has narrow band codes at 8 kHz, which costs a fraction of 48 kHz and loses nothing that was there.
 */
#include <string.h>

#include <opus/opus.h>

#include "codec_kind.h"

#define CLOCK_RATE 48000
#define SILENT	   2 /* bytes: a packet as short says that nobody speaks (RFC 6716 §2.1.9) */

struct opus_decoder {
	uint32_t rate;
	OpusDecoder *opus; /* behind this */
};

struct opus_encoder {
	OpusEncoder *opus; /* behind this */
	int dtx;
	unsigned lost; /* percent of packets that it reckons with losing */
};

static unsigned opus_ptime(unsigned wanted)
{
	return wanted >= 60 ? 60 : wanted >= 40 ? 40 : wanted >= 20 ? 20 : 10;
}

static size_t decoder_bytes(void)
{
	return sizeof(struct opus_decoder) + (size_t)opus_decoder_get_size(1);
}

static size_t encoder_bytes(void)
{
	return sizeof(struct opus_encoder) + (size_t)opus_encoder_get_size(1);
}

static int open_decoder(void *state, uint32_t rate)
{
	struct opus_decoder *decoder = state;

	decoder->rate = rate;
	decoder->opus = (OpusDecoder *)(decoder + 1);
	return opus_decoder_init(decoder->opus, (opus_int32)rate, 1) == OPUS_OK ? 0 : -1;
}

static int duration(const uint8_t *payload, size_t length, uint32_t rate)
{
	int samples;

	if (length > CODEC_PAYLOAD_MOST)
		return CODEC_MALFORMED;
	samples = opus_packet_get_nb_samples(payload, (opus_int32)length, (opus_int32)rate);
	return samples > 0 ? samples : CODEC_MALFORMED;
}

static int decode(void *state, const uint8_t *payload, size_t length, int16_t *pcm, unsigned room)
{
	struct opus_decoder *decoder = state;
	int samples = opus_decode(decoder->opus, payload, (opus_int32)length, pcm, (int)room, 0);

	return samples > 0 ? samples : CODEC_MALFORMED;
}

/* Whether the first frame carries the one before along: a flag after one bit for each 20 ms (RFC 6716
 * §4.2.3). */
static int carries_previous(const uint8_t *payload, size_t length, uint32_t rate, unsigned samples)
{
	unsigned per_frame =
		length ? (unsigned)opus_packet_get_samples_per_frame(payload, (opus_int32)rate) : 0;
	unsigned parts = per_frame / (rate / 50), celt = payload[0] >> 7;
	const uint8_t *frames[48];
	opus_int16 sizes[48];

	if (celt || per_frame != samples ||
	    opus_packet_parse(payload, (opus_int32)length, NULL, frames, sizes, NULL) < 1 || !sizes[0])
		return 0;
	return frames[0][0] >> (7 - (parts ? parts : 1)) & 1;
}

static int conceal(void *state, const uint8_t *next, size_t length, int16_t *pcm, unsigned samples)
{
	struct opus_decoder *decoder = state;
	unsigned frame = decoder->rate / 100;
	int recovered = next && length && carries_previous(next, length, decoder->rate, samples);

	if (recovered && opus_decode(decoder->opus, next, (opus_int32)length, pcm, (int)samples, 1) > 0)
		return 1;
	for (; samples >= frame; samples -= frame, pcm += frame)
		if (opus_decode(decoder->opus, NULL, 0, pcm, (int)frame, 0) != (int)frame)
			memset(pcm, 0, frame * sizeof(*pcm));
	return 0;
}

static int ends_talk(const uint8_t *payload, size_t length)
{
	(void)payload;
	return length <= SILENT;
}

/* With a complexity of 7 or more it would listen for music and code what it takes for it as such, voices that
 * keep their pitch among them; below, it never does. */
static int open_encoder(void *state, uint32_t rate, const struct codec_settings *settings)
{
	struct opus_encoder *encoder = state;
	OpusEncoder *opus = (OpusEncoder *)(encoder + 1);

	*encoder = (struct opus_encoder){opus, settings->dtx, settings->loss};
	if (opus_encoder_init(opus, (opus_int32)rate, 1, OPUS_APPLICATION_VOIP) != OPUS_OK)
		return -1;
	if (opus_encoder_ctl(
		    opus, OPUS_SET_BITRATE(settings->bitrate ? (opus_int32)settings->bitrate : OPUS_AUTO)) ||
	    opus_encoder_ctl(opus, OPUS_SET_COMPLEXITY(settings->complexity)) ||
	    opus_encoder_ctl(opus, OPUS_SET_SIGNAL(OPUS_SIGNAL_VOICE)) ||
	    opus_encoder_ctl(opus, OPUS_SET_DTX(settings->dtx)) ||
	    opus_encoder_ctl(opus, OPUS_SET_INBAND_FEC(settings->fec)) ||
	    opus_encoder_ctl(opus, OPUS_SET_PACKET_LOSS_PERC(settings->loss)))
		return -1;
	return 0;
}

/* Up at once, down by halves: what was lost a moment ago may be again, and what never is costs nothing. */
static void expect(void *state, unsigned lost)
{
	struct opus_encoder *encoder = state;

	encoder->lost = lost > encoder->lost / 2 ? lost : encoder->lost / 2;
	if (encoder->lost > 100)
		encoder->lost = 100;
	opus_encoder_ctl(encoder->opus, OPUS_SET_PACKET_LOSS_PERC((opus_int32)encoder->lost));
}

static int encode(void *state, const int16_t *pcm, unsigned samples, uint8_t *payload, size_t room,
		  unsigned *skipped, unsigned *rest)
{
	const struct opus_encoder *encoder = state;
	int bytes = opus_encode(encoder->opus, pcm, (int)samples, payload, (opus_int32)room);

	(void)rest;
	if (bytes < 0)
		return CODEC_MALFORMED;
	if (bytes > SILENT || !encoder->dtx)
		return bytes;
	*skipped = samples;
	return 0;
}

const struct codec_kind codec_opus = {
	.clock_rate = CLOCK_RATE,
	.slot = CODEC_PAYLOAD_MOST,
	.packet_ms = 120,
	.ptime = opus_ptime,
	.decoder_bytes = decoder_bytes,
	.encoder_bytes = encoder_bytes,
	.open_decoder = open_decoder,
	.duration = duration,
	.decode = decode,
	.conceal = conceal,
	.ends_talk = ends_talk,
	.open_encoder = open_encoder,
	.expect = expect,
	.encode = encode,
};
