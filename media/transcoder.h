/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One direction of a call through the engine's codecs: what a leg sends, as the other leg can hear it.
 * Receiver, sender, and between them what is played, muted and noticed.
 *
 * Everything is in one block of memory, taken when it is opened: transcoder_bytes, at most
 * TRANSCODER_BYTES_MOST; bcg729 and speexdsp take some kB more for themselves then. Times are ns.
 */
#ifndef VOXDP_TRANSCODER_H
#define VOXDP_TRANSCODER_H

#include "clip.h"
#include "receiver.h"
#include "sender.h"

#define TRANSCODER_BYTES_MOST 122880
#define TRANSCODER_PATH	      128

struct transcoder_settings {
	struct receiver_settings receiver;
	struct sender_settings sender;
	uint8_t digits; /* enum dtmf_mode; they go on as events, or as tones where the other leg has no events
			 */
	uint8_t mute;	/* nothing of the leg is passed on */
	uint8_t fill;	/* silence is sent where there is no stream */
	uint8_t reserved;
	struct dtmf_cover cover;
};

enum transcoder_news_kind {
	TRANSCODER_DIGIT = 1,  /* a digit has ended */
	TRANSCODER_PLAYED = 2, /* the clip has been played to its end */
};

struct transcoder_news {
	uint32_t kind;	   /* enum transcoder_news_kind */
	uint32_t duration; /* ms, of a digit */
	uint8_t digit;	   /* 0-15 */
	uint8_t in_band;   /* heard as a tone, not told as an event */
	uint8_t reserved[2];
	uint32_t number; /* of the clip */
};

struct transcoder_report {
	struct jitterbuffer_counts jitter;
	struct receiver_counts receiver;
	struct sender_counts sender;
	uint64_t codec_ns; /* time taken by decoding, encoding and all between: of every 64th packet, times 64
			    */
	uint32_t target_ms; /* delay that the jitter buffer asks for */
	uint32_t reserved;
};

struct transcoder {
	struct transcoder_settings settings;
	struct receiver *receiver;
	struct sender *sender;
	struct clip clip;
	uint64_t next; /* ns: when the next packet is due */
	uint64_t codec_ns;
	uint64_t ticks;
	uint64_t tone_from; /* ns: a tone is heard since */
	int32_t tone;	    /* digit heard now, or TONE_NONE */
	struct tone cover;  /* in place of a digit */
	uint8_t translates; /* payloads may become the other codec's without the sound between */
	uint8_t mixed;	    /* the clip is laid over the leg's sound, not put in its place */
};

/* Tells news; `context` is what the caller gave. */
struct transcoder_ear {
	void (*tell)(void *context, const struct transcoder_news *news);
	void *context;
};

/* 0: no such codec or rate. */
size_t transcoder_bytes(const struct transcoder_settings *settings);

/* Memory of that many bytes, aligned to 16. NULL: settings refused, or out of memory. */
struct transcoder *transcoder_open(void *memory, const struct transcoder_settings *settings, uint64_t now);
void transcoder_close(struct transcoder *transcoder);

/* Other digits, mute or payload types for one in use; 0, or -1 where codecs, rates or packet time differ. */
int transcoder_change(struct transcoder *transcoder, const struct transcoder_settings *settings);

/* A packet of the leg. */
void transcoder_put(struct transcoder *transcoder, const uint8_t *data, size_t length, uint64_t now,
		    const struct transcoder_ear *ear);

/* Sends what is due at `now`; returns when to call again. */
uint64_t transcoder_tick(struct transcoder *transcoder, uint64_t now, const struct packet_sink *sink,
			 const struct transcoder_ear *ear);

/* Plays to the other leg, in place of the leg's sound or over it; 0 or an errno of clip_open. */
int transcoder_play(struct transcoder *transcoder, const char *path, uint32_t times, int mixed);
void transcoder_stop(struct transcoder *transcoder);

/* Sends a digit to the other leg; 0, or -1: too many are waiting. */
int transcoder_digit(struct transcoder *transcoder, const struct dtmf_digit *digit);

void transcoder_report(const struct transcoder *transcoder, struct transcoder_report *report);

#endif
