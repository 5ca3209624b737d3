/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Sound made into one leg's RTP: encoder, packet times, silence left out, digits as events or tones. */
#ifndef VOXDP_SENDER_H
#define VOXDP_SENDER_H

#include "codec.h"
#include "dtmf.h"
#include "talk.h"
#include "tone.h"

#define SENDER_NO_TYPE 255 /* payload type that is not sent */

struct sender_settings {
	struct codec_settings codec; /* its rate is that of the sound given to the sender */
	uint32_t ssrc;
	uint32_t timestamp;  /* of the first packet */
	uint32_t event_rate; /* Hz that telephone events last by, 0: the codec's clock */
	uint16_t sequence;   /* of the first packet */
	uint8_t number;	     /* enum codec_number */
	uint8_t ptime;	     /* ms, 10 to 60: what codec_ptime makes of it is used */
	uint8_t payload_type;
	uint8_t event_type; /* of telephone events, or SENDER_NO_TYPE: digits become tones */
	uint8_t noise_type; /* of comfort noise, sent in silence; or SENDER_NO_TYPE: sound without a pause */
	uint8_t reserved;
};

struct sender_counts {
	uint64_t packets;
	uint64_t bytes;	 /* payload */
	uint64_t silent; /* ms left out */
	uint64_t digits;
};

/* Where packets go: room for one of CODEC_PAYLOAD_MOST + 12 bytes, or NULL; and that it is written. */
struct packet_sink {
	uint8_t *(*room)(void *context);
	void (*send)(void *context, size_t length);
	void *context;
};

struct sender {
	struct sender_counts counts;
	struct sender_settings settings;
	struct encoder *encoder;
	struct dtmf_sender digits;
	struct tone tone;
	struct talk talk;
	uint32_t rate, clock_rate;
	uint32_t ptime;	    /* ms */
	uint32_t timestamp; /* of the sound that comes next */
	uint32_t event_timestamp;
	uint32_t unsaid; /* ms since the silence was described */
	uint16_t sequence;
	uint8_t paused; /* the next packet of sound begins a spurt of talk */
};

/* Bytes of memory that a sender takes, 0: no such codec or rate. */
size_t sender_bytes(const struct sender_settings *settings);

/* Opens one in memory of that many bytes, aligned to 16. NULL: settings refused, or out of memory. */
struct sender *sender_open(void *memory, const struct sender_settings *settings);
void sender_close(struct sender *sender);

/* Samples of one packet: what sender_push takes. */
unsigned sender_samples(const struct sender *sender);

/* One packet time of sound, which a tone may be written over. */
void sender_push(struct sender *sender, int16_t *pcm, const struct packet_sink *sink);

/* Whether a payload that is made already can go as it is: no digit, and no silence to be left out. */
int sender_takes_payload(const struct sender *sender);

/* One packet time of sound, as a payload of `length` bytes behind the header's room in `packet`. */
void sender_forward(struct sender *sender, uint8_t *packet, size_t length, const struct packet_sink *sink);

/* One packet time passes in which nothing is sent, unless digits wait. */
void sender_pass(struct sender *sender, const struct packet_sink *sink);

#endif
