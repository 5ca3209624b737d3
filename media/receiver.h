/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One leg's RTP made into steady sound: jitter buffer, decoder, concealment, comfort noise, digits. */
#ifndef VOXDP_RECEIVER_H
#define VOXDP_RECEIVER_H

#include "codec.h"
#include "dtmf.h"
#include "jitterbuffer.h"
#include "noise.h"
#include "resample.h"
#include "tone.h"

#define RECEIVER_NO_TYPE 255 /* payload type that no packet has */

struct receiver_settings {
	struct codec_settings codec;
	uint32_t rate;	      /* Hz of the sound that is wanted: 8000, 16000 or 48000 */
	uint32_t event_rate;  /* Hz that telephone events last by, 0: the codec's clock */
	uint8_t number;	      /* enum codec_number */
	uint8_t payload_type; /* of the codec */
	uint8_t event_type;   /* of telephone events (RFC 4733), or RECEIVER_NO_TYPE */
	uint8_t noise_type;   /* of comfort noise (RFC 3389), or RECEIVER_NO_TYPE */
	uint8_t listen;	      /* for dual tones in the sound */
	uint8_t reserved[3];
};

struct receiver_counts {
	uint64_t played;     /* packets decoded */
	uint64_t decoded;    /* ms of sound in them */
	uint64_t concealed;  /* ms made up for packets lost or late */
	uint64_t recovered;  /* packets restored from the one after */
	uint64_t silent;     /* ms of comfort noise or silence while the sender sent nothing */
	uint64_t shortened;  /* ms taken out to catch up */
	uint64_t lengthened; /* ms put in to wait */
	uint64_t malformed;  /* packets that the codec refused */
	uint64_t unknown;    /* packets of a payload type that is none of ours */
};

struct receiver {
	struct receiver_counts counts;
	struct jitterbuffer *jitter;
	struct decoder *decoder;
	struct resampler resampler;
	struct noise noise;
	struct dtmf_receiver dtmf;
	struct tone_detector tones;
	struct receiver_settings settings;
	int16_t *queue; /* sound ready to be pulled, at settings.rate */
	uint32_t queued, queue_room;
	uint32_t taken; /* of the queue, by the last pull */
	uint32_t codec_rate, clock_rate;
	uint32_t pulled_ms;    /* at once, 0: not said */
	uint32_t packet_bytes; /* payload of the last packet whose length in time was looked at */
	uint32_t starving;     /* ms since sound was last decoded */
	uint8_t quiet;	       /* the sender said that it falls silent */
	uint8_t described;     /* and what the silence sounds like */
};

/* Bytes of memory that a receiver takes, 0: no such codec or rate. */
size_t receiver_bytes(const struct receiver_settings *settings);

/* Opens one in memory of that many bytes, aligned to 16. NULL: settings refused, or out of memory. */
struct receiver *receiver_open(void *memory, const struct receiver_settings *settings);
void receiver_close(struct receiver *receiver);

/* So many samples will be pulled at once, so that packets wait for as long as that asks for. */
void receiver_pulls(struct receiver *receiver, unsigned count);

/* Takes an RTP packet in; `now` in ns. Tells what it made of a digit, see receiver->dtmf. */
enum dtmf_news receiver_put(struct receiver *receiver, const uint8_t *data, size_t length, uint64_t now);

enum receiver_state {
	RECEIVER_IDLE = 0,   /* there is no stream, or none for a second: silence */
	RECEIVER_SILENT = 1, /* the sender is silent, as it said: comfort noise */
	RECEIVER_SOUND = 2,
};

/* How long the digit at hand has lasted so far, in ms. */
uint32_t receiver_digit_ms(const struct receiver *receiver, const struct dtmf_receiver *digit);

/* `count` samples, a multiple of 10 ms up to 60, to be played at `now`; they are the caller's until the next
 * pull. */
enum receiver_state receiver_pull(struct receiver *receiver, int16_t **pcm, unsigned count, uint64_t now);

/*
 * As receiver_pull; but where just one packet is due and can be translated to the encoder's codec, that is
 * done: *length bytes in `payload`, and no sound. Else *length is 0.
 */
enum receiver_state receiver_pull_for(struct receiver *receiver, const struct encoder *encoder,
				      uint8_t *payload, size_t *length, int16_t **pcm, unsigned count,
				      uint64_t now);

#endif
