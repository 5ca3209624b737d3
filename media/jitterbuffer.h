/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Puts the packets of one RTP stream back in order and in time. It learns how late packets come, and asks for
 * a delay that nearly all of them make; whoever plays it makes sound shorter or longer towards that delay.
 *
 * At most JITTERBUFFER_MOST_MS of sound and JITTERBUFFER_BYTES of memory. Times are ns of any steady clock.
 */
#ifndef VOXDP_JITTERBUFFER_H
#define VOXDP_JITTERBUFFER_H

#include <stddef.h>
#include <stdint.h>

#include "delay.h"

#define JITTERBUFFER_BYTES   32768 /* most that a buffer takes, whatever the codec */
#define JITTERBUFFER_MOST_MS 200

enum jitterbuffer_kind {
	JITTERBUFFER_SOUND = 0,
	JITTERBUFFER_NOISE = 1, /* describes comfort noise */
	JITTERBUFFER_EVENT = 2, /* keeps its place in the sequence, and no more */
};

struct jitterbuffer_packet {
	uint32_t ssrc;
	uint32_t timestamp;
	uint16_t sequence;
	uint16_t length;
	uint8_t kind; /* enum jitterbuffer_kind */
	const uint8_t *payload;
};

enum jitterbuffer_answer {
	JITTERBUFFER_WAIT = 0,	/* no stream, or its first packet is not due yet */
	JITTERBUFFER_FRAME = 1, /* play this packet; nothing was sent for `ticks` before it */
	JITTERBUFFER_LOST =
		2, /* this packet is missing: conceal `ticks`; `payload` is the next one, if there */
	JITTERBUFFER_GAP = 3,	/* nothing was sent for `ticks` */
	JITTERBUFFER_EMPTY = 4, /* the next packet is late or lost, nobody can know */
};

struct jitterbuffer_frame {
	const uint8_t *payload; /* valid until the next put */
	uint32_t timestamp;
	uint32_t ticks;
	int32_t behind_us; /* by how much later than asked for it is played: negative, too early */
	uint16_t length;
	uint8_t kind;
};

struct jitterbuffer_counts {
	uint64_t received;
	uint64_t late; /* came after their time */
	uint64_t lost;
	uint64_t duplicates;
	uint64_t discarded; /* to stay within the bounds */
	uint64_t refused;   /* too long, or a single packet of another stream */
	uint64_t restarts;  /* another SSRC, or a jump of the sequence */
};

struct jitterbuffer_slot;

struct jitterbuffer {
	struct jitterbuffer_counts counts;
	struct delay delay;
	struct jitterbuffer_slot *slots;
	uint8_t *payloads;
	uint64_t last; /* ns: arrival of the last packet */
	uint32_t clock_rate, slot_count, slot_bytes;
	uint32_t ssrc;
	uint32_t newest;       /* highest sequence number, extended */
	uint32_t next;	       /* to be played next */
	uint32_t next_ticks;   /* its time stamp, as far as is known */
	uint32_t newest_ticks; /* time stamp of the newest packet of sound */
	uint32_t stranger;     /* SSRC of the last packet of another stream */
	uint16_t stranger_sequence;
	uint8_t known, playing, strangers;
	uint8_t starved; /* sound has been made up for what may come yet */
};

/* Bytes of a buffer for payloads of up to `slot` bytes; at most JITTERBUFFER_BYTES. */
size_t jitterbuffer_bytes(uint32_t slot);

/* Opens a buffer in memory of that many bytes, aligned to 16. */
struct jitterbuffer *jitterbuffer_open(void *memory, uint32_t slot, uint32_t clock_rate);

void jitterbuffer_put(struct jitterbuffer *buffer, const struct jitterbuffer_packet *packet, uint64_t now);

/* What is to be played at the time `now`. */
enum jitterbuffer_answer jitterbuffer_get(struct jitterbuffer *buffer, uint64_t now,
					  struct jitterbuffer_frame *frame);

/* So many ticks of the stream have been played, or made up in its place. */
void jitterbuffer_advance(struct jitterbuffer *buffer, uint32_t ticks);

#endif
