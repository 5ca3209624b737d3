/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Telephone events (RFC 4733): the payload, digits out of packets that repeat and get lost, and packets of
 * digits. */
#ifndef VOXDP_DTMF_H
#define VOXDP_DTMF_H

#include <stddef.h>
#include <stdint.h>

#define DTMF_PAYLOAD  4
#define DTMF_QUEUE    32 /* digits that wait to be sent */
#define DTMF_PAUSE_MS 60

struct dtmf_event {
	uint8_t event;	   /* 0-15: 0-9 * # A-D */
	uint8_t end;	   /* this is the last report of it */
	uint8_t volume;	   /* -dBm0 */
	uint16_t duration; /* clock ticks since it began */
};

/* 0, or -1: too short. What follows the first event is ignored. */
int dtmf_read(const uint8_t *payload, size_t length, struct dtmf_event *event);
void dtmf_write(const struct dtmf_event *event, uint8_t *payload);

/* What a packet or the passing of time tells of a digit. */
enum dtmf_news {
	DTMF_NOTHING = 0, /* repeated, late or of an event beyond the digits */
	DTMF_BEGUN = 1,
	DTMF_GOES_ON = 2,
	DTMF_ENDED = 3,
};

struct dtmf_receiver {
	struct dtmf_event now; /* the digit at hand or, if none is, the last one */
	uint32_t timestamp;    /* of the packets that report it */
	uint32_t base;	       /* ticks of the segments before (RFC 4733 §2.5.1.3) */
	uint64_t last;	       /* ns: last report of it */
	uint8_t active, known;
};

/* A packet of events. `now` in ns. A digit that another one cuts short has ended without further news. */
enum dtmf_news dtmf_receive(struct dtmf_receiver *receiver, uint32_t timestamp, const uint8_t *payload,
			    size_t length, uint64_t now);

/* DTMF_ENDED if the digit at hand has not been reported for so long that its end must be lost. */
enum dtmf_news dtmf_expire(struct dtmf_receiver *receiver, uint64_t now);

/* Ticks that the digit has lasted so far. */
uint32_t dtmf_duration(const struct dtmf_receiver *receiver);

/* What becomes of the digits of a leg. */
enum dtmf_mode {
	DTMF_PASS = 0,
	DTMF_SILENCE = 1,
	DTMF_OTHER = 2,	 /* another digit */
	DTMF_RANDOM = 3, /* any digit, one and the same as long as it lasts */
	DTMF_TONE = 4,	 /* a tone that is no digit */
};

struct dtmf_cover {
	uint16_t frequency; /* Hz, of the tone */
	uint8_t digit;	    /* the other one */
	uint8_t volume;	    /* -dBm0, of what is made as sound */
};

/* The digit that goes out in place of one that says nothing of that: `seed` is another for another digit. */
uint8_t dtmf_covered(uint8_t mode, const struct dtmf_cover *cover, uint32_t seed);

struct dtmf_digit {
	uint8_t event, volume;
	uint16_t ms;	/* 0: until it is said to end */
	uint16_t pause; /* ms after it, 0: DTMF_PAUSE_MS */
};

/* Digits to send, one after the other with a pause between; by packets or as tones, that is the sender's. */
struct dtmf_sender {
	struct dtmf_digit queue[DTMF_QUEUE];
	struct dtmf_digit now;
	uint32_t age;	/* ms that the digit at hand has lasted */
	uint32_t pause; /* ms until the next may begin */
	uint8_t first, count;
	uint8_t active, ending, repeats, fresh;
};

/* 0, or -1: DTMF_QUEUE digits are waiting, or it is none. */
int dtmf_queue(struct dtmf_sender *sender, const struct dtmf_digit *digit);

/* The digit that was queued last, with no length of its own, ends. */
void dtmf_release(struct dtmf_sender *sender);

/*
 * Lets `ms` pass. 1: write this report, whose duration is in ms; it is the first if `fresh` was set before,
 * and the last of its digit once `repeats` has run out. 0: nothing to send.
 */
int dtmf_step(struct dtmf_sender *sender, unsigned ms, struct dtmf_event *report);

#endif
