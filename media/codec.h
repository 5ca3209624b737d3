/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Voice codecs behind one face: payload of an RTP packet to 16-bit linear sound and back, mono.
 *
 * A coder lives in memory of the caller, as many bytes as codec_*_bytes says, aligned to 16; what bcg729
 * takes for itself it takes when a coder is opened. Nothing is allocated afterwards.
 */
#ifndef VOXDP_CODEC_H
#define VOXDP_CODEC_H

#include <stddef.h>
#include <stdint.h>

#define CODEC_ALIGN	   16
#define CODEC_SAMPLES_MOST 5760 /* 120 ms at 48 kHz: the longest packet of any codec */
#define CODEC_PAYLOAD_MOST 1472 /* bytes: what fits into a datagram of an Ethernet frame */

enum codec_number {
	CODEC_PCMU = 0,
	CODEC_PCMA = 1,
	CODEC_G722 = 2,
	CODEC_G729 = 3,
	CODEC_OPUS = 4,
	CODECS = 5,
};

enum codec_status {
	CODEC_MALFORMED = -1, /* no payload of this codec */
	CODEC_NO_ROOM = -2,
};

struct codec_settings {
	uint32_t rate;	    /* Hz of the sound: 8000, 16000 or 48000 for Opus, 0: the codec's own */
	uint32_t bitrate;   /* bit/s of Opus, 0: libopus chooses by rate */
	uint8_t complexity; /* 0 to 10, of Opus */
	uint8_t dtx;	    /* send nothing in silence: Opus DTX, Annex B of G.729 */
	uint8_t fec;	    /* Opus: carry the packet before along */
	uint8_t loss;	    /* percent of packets that Opus should reckon with losing */
};

struct codec_facts {
	uint32_t rate;		/* Hz of the sound that it takes and gives */
	uint32_t clock_rate;	/* Hz of RTP time stamps */
	uint32_t slot;		/* bytes of the longest payload that a jitter buffer keeps */
	uint32_t packet_ms;	/* sound in the longest packet */
	uint32_t decoder_bytes; /* memory of one decoder */
	uint32_t encoder_bytes;
};

struct decoder;
struct encoder;

/* 0, or -1: no such codec, or a rate that it does not have. */
int codec_look_up(unsigned number, const struct codec_settings *settings, struct codec_facts *facts);

/* The packet time, in ms, that the codec can make and that comes closest to `wanted` from below: 10 to 60. */
unsigned codec_ptime(unsigned number, unsigned wanted);

/* NULL: as codec_look_up, or out of memory. */
struct decoder *decoder_open(void *memory, unsigned number, const struct codec_settings *settings);
void decoder_close(struct decoder *decoder);

/* Samples in a payload, without decoding it; CODEC_MALFORMED. */
int decoder_duration(const struct decoder *decoder, const uint8_t *payload, size_t length);

/* Decodes one payload; how many samples, or a codec_status: the decoder is as it was then. */
int decoder_decode(struct decoder *decoder, const uint8_t *payload, size_t length, int16_t *pcm,
		   unsigned room);

/*
 * Makes up `samples`, a multiple of 10 ms, for a packet that is missing; from what `next`, the packet after
 * it, carries along if that is there and the codec can. Returns 1 if it did so, 0 if not.
 */
int decoder_conceal(struct decoder *decoder, const uint8_t *next, size_t length, int16_t *pcm,
		    unsigned samples);

/* Whether payloads of one codec can be made into the other's without the sound between. */
int codec_translates(unsigned from, unsigned to);

/*
 * Makes a payload into the encoder's, of such codecs; its bytes, or 0: not this time, for what comes after a
 * loss has to be joined to what was made up. The decoder goes on as if it had decoded it.
 */
int decoder_translate(struct decoder *decoder, const struct encoder *encoder, const uint8_t *payload,
		      size_t length, uint8_t *result, size_t room);

/* Whether the sender falls silent after this payload, so that nothing may follow for long. */
int decoder_ends_talk(const struct decoder *decoder, const uint8_t *payload, size_t length);

/* NULL: as codec_look_up, or out of memory. */
struct encoder *encoder_open(void *memory, unsigned number, const struct codec_settings *settings);
void encoder_close(struct encoder *encoder);

/* The other end has lost that many percent of the packets lately: a codec that can makes more of it good. */
void encoder_expect(struct encoder *encoder, unsigned lost);

/*
 * Encodes `samples`, a packet time of the codec; bytes of the payload, or a codec_status. 0: silence, nothing
 * to send. *rest: samples at the end that are not in the payload, for Annex B of G.729 ends a packet with the
 * first silent frame; *skipped: silent ones before it.
 */
int encoder_encode(struct encoder *encoder, const int16_t *pcm, unsigned samples, uint8_t *payload,
		   size_t room, unsigned *skipped, unsigned *rest);

#endif
