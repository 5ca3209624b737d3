/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One direction of a call that passes as it is, with sound and digits put into it, and digits or all that is
 * said taken out.
 *
 * What is put in takes the place of what the leg sends. While the leg sends, that goes out under the leg's
 * own SSRC and in its numbers, packet for packet: the listener has one stream that neither jumps nor pauses,
 * and the kernel can carry it again at any time. Where the leg is silent, or its SSRC must not be used, it
 * goes out under another. Everything is in one block of memory, taken when it is opened. Times are ns.
 */
#ifndef VOXDP_INSERTER_H
#define VOXDP_INSERTER_H

#include "clip.h"
#include "sender.h"
#include "transcoder.h"

struct inserter_settings {
	struct sender_settings sender; /* ssrc, timestamp and sequence: of the stream that is not the leg's */
	uint8_t block;		       /* enum dtmf_mode: digits of the leg are told of in any case */
	uint8_t mute;		       /* what the leg says becomes silence */
	uint8_t deaf;		       /* nothing of the leg passes */
	uint8_t own; /* the leg's SSRC is not to be used: it has encrypted other packets under the same key */
	struct dtmf_cover cover;
};

/* The stream of the leg, as it was heard last. */
struct inserter_source {
	uint64_t at;
	uint32_t ssrc;
	uint32_t timestamp; /* of the last sound */
	uint32_t step;	    /* ticks from one packet to the next, 0: not known yet */
	uint16_t sequence;  /* of the last packet */
	uint16_t sound;	    /* of the last sound */
	uint8_t known;
	uint8_t payload_type; /* of the last sound */
};

enum inserter_state {
	INSERTER_PASS = 0,
	INSERTER_WAIT = 1, /* to hear whether the leg sends, and how often */
	INSERTER_RIDE = 2, /* in the leg's stream */
	INSERTER_OWN = 3,  /* in another */
};

struct inserter {
	struct inserter_settings settings;
	struct sender *sender;
	struct clip clip;
	struct dtmf_receiver dtmf;
	struct inserter_source source;
	struct tone tone;  /* in place of a digit */
	uint32_t tone_of;  /* time stamp of that digit */
	uint64_t next;	   /* when the next packet is due */
	uint64_t deadline; /* of waiting */
	uint64_t own_at;   /* when the other stream ended last, 0: never */
	uint32_t own_timestamp;
	uint16_t own_sequence;
	uint16_t ridden; /* last sequence number of the leg's that was used up, in that SSRC */
	uint32_t ridden_ssrc;
	uint8_t state; /* enum inserter_state */
	uint8_t has_ridden;
	uint8_t mark; /* the next packet that passes begins a stream */
	int8_t bend;  /* the pace is to slow down, or to speed up */
};

/* 0: no such codec or rate. */
size_t inserter_bytes(const struct inserter_settings *settings);

/* Memory of that many bytes, aligned to 16. NULL: settings refused, or out of memory. */
struct inserter *inserter_open(void *memory, const struct inserter_settings *settings);
void inserter_close(struct inserter *inserter);

/* Other settings for one in use; 0, or -1 where its codec differs. */
int inserter_change(struct inserter *inserter, const struct inserter_settings *settings);

/* A packet of the leg, which passes or not. */
void inserter_put(struct inserter *inserter, const uint8_t *data, size_t length, uint64_t now,
		  const struct packet_sink *sink, const struct transcoder_ear *ear);

/* Sends what is due at `now`; returns when to call again, ~0: once something is to be put in. */
uint64_t inserter_tick(struct inserter *inserter, uint64_t now, const struct packet_sink *sink,
		       const struct transcoder_ear *ear);

/*
 * Whether numbers of the leg's are being used up, or were that it has still to come to: only what knows of
 * them can carry it on.
 */
int inserter_rides(const struct inserter *inserter);

#endif
