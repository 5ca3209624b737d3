/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "jitterbuffer.h"

#include <string.h>

#define SLOTS	     32	   /* a power of two, as every count of slots is */
#define PAYLOADS     24000 /* bytes for payloads, within JITTERBUFFER_BYTES */
#define ALIGN	     16
#define JUMP	     500       /* sequence numbers: farther away it is another stream */
#define PAUSE_NS     100000000 /* after so long a silence another stream is believed at once */
#define LONGEST_LOSS 60	       /* ms made up for one missing packet */
#define SLACK_US     5000      /* a packet this much too early is played rather than a piece of silence */

struct jitterbuffer_slot {
	uint32_t sequence;
	uint32_t timestamp;
	uint16_t length;
	uint8_t kind;
	uint8_t used;
};

static uint32_t slot_count(uint32_t slot)
{
	uint32_t count = SLOTS;

	while (count * slot > PAYLOADS)
		count /= 2;
	return count;
}

static size_t rounded(size_t bytes)
{
	return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

size_t jitterbuffer_bytes(uint32_t slot)
{
	size_t slots = rounded(slot_count(slot) * sizeof(struct jitterbuffer_slot));

	return rounded(sizeof(struct jitterbuffer)) + slots + rounded((size_t)slot_count(slot) * slot);
}

_Static_assert(sizeof(struct jitterbuffer) + SLOTS * sizeof(struct jitterbuffer_slot) + PAYLOADS +
			       3 * ALIGN <=
		       JITTERBUFFER_BYTES,
	       "a buffer keeps within its bound");

struct jitterbuffer *jitterbuffer_open(void *memory, uint32_t slot, uint32_t clock_rate)
{
	struct jitterbuffer *buffer = memory;
	uint8_t *behind = (uint8_t *)memory + rounded(sizeof(*buffer));

	memset(buffer, 0, sizeof(*buffer));
	buffer->slot_count = slot_count(slot);
	buffer->slot_bytes = slot;
	buffer->clock_rate = clock_rate;
	buffer->slots = (struct jitterbuffer_slot *)behind;
	buffer->payloads = behind + rounded(buffer->slot_count * sizeof(struct jitterbuffer_slot));
	memset(buffer->slots, 0, buffer->slot_count * sizeof(*buffer->slots));
	delay_open(&buffer->delay, clock_rate);
	return buffer;
}

static struct jitterbuffer_slot *slot_of(struct jitterbuffer *buffer, uint32_t sequence)
{
	return &buffer->slots[sequence & (buffer->slot_count - 1)];
}

/* The slot of a packet that is waiting, or NULL. */
static struct jitterbuffer_slot *find(struct jitterbuffer *buffer, uint32_t sequence)
{
	struct jitterbuffer_slot *slot = slot_of(buffer, sequence);

	return slot->used && slot->sequence == sequence ? slot : NULL;
}

static const uint8_t *payload_of(const struct jitterbuffer *buffer, const struct jitterbuffer_slot *slot)
{
	return buffer->payloads + (size_t)(slot - buffer->slots) * buffer->slot_bytes;
}

static uint32_t ticks_of(const struct jitterbuffer *buffer, unsigned ms)
{
	return buffer->clock_rate / 1000 * ms;
}

/* Sequence numbers begin far above 0, so that packets from before the first one have numbers too. */
static void begin(struct jitterbuffer *buffer, const struct jitterbuffer_packet *packet)
{
	int again = buffer->known;

	for (uint32_t i = 0; i < buffer->slot_count; i++)
		buffer->slots[i].used = 0;
	buffer->counts.restarts += (uint64_t)again;
	buffer->ssrc = packet->ssrc;
	buffer->newest = 0x10000U + packet->sequence;
	buffer->next = buffer->newest;
	buffer->next_ticks = buffer->newest_ticks = packet->timestamp;
	buffer->playing = buffer->strangers = 0;
	buffer->known = 1;
	buffer->delay.known = 0;
}

/* Another stream is believed from its second packet on that follows the first, or after a pause. */
static int is_stranger(struct jitterbuffer *buffer, const struct jitterbuffer_packet *packet, uint64_t now)
{
	int distance = (int16_t)(packet->sequence - (uint16_t)buffer->newest), follows;

	if (!buffer->known)
		begin(buffer, packet);
	if (packet->ssrc == buffer->ssrc && (distance <= JUMP && distance >= -JUMP)) {
		buffer->strangers = 0;
		return 0;
	}
	follows = buffer->strangers && buffer->stranger == packet->ssrc &&
		  packet->sequence == (uint16_t)(buffer->stranger_sequence + 1);
	if (follows || now - buffer->last > PAUSE_NS) {
		begin(buffer, packet);
		return 0;
	}
	buffer->strangers = 1;
	buffer->stranger = packet->ssrc;
	buffer->stranger_sequence = packet->sequence;
	return 1;
}

/* Leaves out what is oldest until `sequence` has a slot. */
static void make_room(struct jitterbuffer *buffer, uint32_t sequence)
{
	while ((int32_t)(sequence - buffer->next) >= (int32_t)buffer->slot_count) {
		struct jitterbuffer_slot *slot = find(buffer, buffer->next++);

		if (slot) {
			slot->used = 0;
			buffer->counts.discarded++;
		} else {
			buffer->counts.lost++;
		}
	}
}

static void keep(struct jitterbuffer *buffer, uint32_t sequence, const struct jitterbuffer_packet *packet)
{
	struct jitterbuffer_slot *slot = slot_of(buffer, sequence);

	*slot = (struct jitterbuffer_slot){sequence, packet->timestamp, packet->length, packet->kind, 1};
	memcpy(buffer->payloads + (size_t)(slot - buffer->slots) * buffer->slot_bytes, packet->payload,
	       packet->length);
}

/* Whether it is not one that came before. */
static int place(struct jitterbuffer *buffer, uint32_t sequence, const struct jitterbuffer_packet *packet)
{
	struct jitterbuffer_slot *slot = slot_of(buffer, sequence);

	if (slot->sequence == sequence && (slot->used || (int32_t)(sequence - buffer->next) < 0)) {
		buffer->counts.duplicates++;
		return 0;
	}
	if (!buffer->playing && (int32_t)(sequence - buffer->next) < 0 &&
	    buffer->newest - sequence < buffer->slot_count)
		buffer->next = sequence;
	if ((int32_t)(sequence - buffer->next) < 0) {
		buffer->counts.late++;
		return 1;
	}
	make_room(buffer, sequence);
	keep(buffer, sequence, packet);
	return 1;
}

void jitterbuffer_put(struct jitterbuffer *buffer, const struct jitterbuffer_packet *packet, uint64_t now)
{
	uint32_t sequence;

	buffer->counts.received++;
	if (packet->length > buffer->slot_bytes || is_stranger(buffer, packet, now)) {
		buffer->counts.refused++;
		return;
	}
	buffer->last = now;
	sequence = buffer->newest + (uint32_t)(int16_t)(packet->sequence - (uint16_t)buffer->newest);
	if (place(buffer, sequence, packet) && packet->kind != JITTERBUFFER_EVENT)
		delay_note(&buffer->delay, packet->timestamp, now / 1000);
	if ((int32_t)(sequence - buffer->newest) >= 0) {
		buffer->newest = sequence;
		buffer->newest_ticks = packet->timestamp;
	}
}

/* The first packet that waits, at or after `next`; NULL: none. *missing: how many before it do not. */
static struct jitterbuffer_slot *first_waiting(struct jitterbuffer *buffer, uint32_t *missing)
{
	*missing = 0;
	for (uint32_t sequence = buffer->next; (int32_t)(buffer->newest - sequence) >= 0; sequence++) {
		struct jitterbuffer_slot *slot = find(buffer, sequence);

		if (slot)
			return slot;
		++*missing;
	}
	return NULL;
}

/* us; a packet that should wait for longer than any can has a time stamp from before a jump: it is due. */
static int64_t until_due(const struct jitterbuffer *buffer, uint32_t timestamp, uint64_t now)
{
	int64_t wait = delay_due(&buffer->delay, timestamp) - (int64_t)(now / 1000);

	return wait > 2000 * JITTERBUFFER_MOST_MS ? 0 : wait;
}

static enum jitterbuffer_answer play(struct jitterbuffer *buffer, struct jitterbuffer_slot *slot,
				     uint32_t missing, uint64_t now, struct jitterbuffer_frame *frame)
{
	int32_t ahead = buffer->playing ? (int32_t)(slot->timestamp - buffer->next_ticks) : 0;

	buffer->counts.lost += missing;
	buffer->next = slot->sequence + 1;
	buffer->next_ticks = slot->timestamp;
	buffer->playing = 1;
	buffer->starved = 0;
	slot->used = 0;
	*frame = (struct jitterbuffer_frame){
		.payload = payload_of(buffer, slot),
		.timestamp = slot->timestamp,
		.ticks = !missing && ahead > 0 ? (uint32_t)ahead : 0,
		.behind_us = (int32_t)-until_due(buffer, slot->timestamp, now),
		.length = slot->length,
		.kind = slot->kind,
	};
	return JITTERBUFFER_FRAME;
}

static enum jitterbuffer_answer conceal(struct jitterbuffer *buffer, const struct jitterbuffer_slot *slot,
					uint32_t missing, int32_t ahead, struct jitterbuffer_frame *frame)
{
	uint32_t ticks = (uint32_t)ahead / missing, most = ticks_of(buffer, LONGEST_LOSS);

	buffer->counts.lost++;
	buffer->next++;
	*frame = (struct jitterbuffer_frame){.ticks = ticks < most ? ticks : most};
	if (missing == 1 && slot->kind == JITTERBUFFER_SOUND) {
		frame->payload = payload_of(buffer, slot);
		frame->length = slot->length;
	}
	return JITTERBUFFER_LOST;
}

/*
 * The first packet to be played. Events have been heeded on arrival and only keep their place here: they go
 * when it is their turn, or their time where something before them is missing.
 */
static struct jitterbuffer_slot *skip_events(struct jitterbuffer *buffer, uint64_t now, uint32_t *missing)
{
	struct jitterbuffer_slot *slot = first_waiting(buffer, missing);

	while (slot && slot->kind == JITTERBUFFER_EVENT) {
		if (*missing && until_due(buffer, slot->timestamp, now) > 0)
			return NULL;
		buffer->counts.lost += *missing;
		buffer->next = slot->sequence + 1;
		slot->used = 0;
		slot = first_waiting(buffer, missing);
	}
	return slot;
}

static int32_t waiting_ticks(const struct jitterbuffer *buffer, const struct jitterbuffer_slot *slot)
{
	return (int32_t)(buffer->newest_ticks - slot->timestamp);
}

/* Too much sound waits: the oldest goes, until what remains is as much as should; NULL: nothing does. */
static struct jitterbuffer_slot *bound(struct jitterbuffer *buffer, struct jitterbuffer_slot *slot,
				       uint32_t *missing)
{
	int32_t enough = (int32_t)(buffer->delay.target * buffer->clock_rate / 1000000);

	if (waiting_ticks(buffer, slot) <= (int32_t)ticks_of(buffer, JITTERBUFFER_MOST_MS))
		return slot;
	while (slot && (waiting_ticks(buffer, slot) > enough || slot->kind == JITTERBUFFER_EVENT)) {
		buffer->counts.discarded += slot->kind != JITTERBUFFER_EVENT;
		buffer->counts.lost += *missing;
		buffer->next = slot->sequence + 1;
		slot->used = 0;
		slot = first_waiting(buffer, missing);
	}
	if (!slot)
		return NULL;
	buffer->next_ticks = slot->timestamp;
	return slot;
}

enum jitterbuffer_answer jitterbuffer_get(struct jitterbuffer *buffer, uint64_t now,
					  struct jitterbuffer_frame *frame)
{
	uint32_t missing, most = ticks_of(buffer, LONGEST_LOSS);
	struct jitterbuffer_slot *slot = buffer->known ? skip_events(buffer, now, &missing) : NULL;
	int64_t wait;
	int32_t ahead;

	slot = slot ? bound(buffer, slot, &missing) : NULL;
	if (!slot) {
		buffer->starved = buffer->playing;
		return buffer->playing ? JITTERBUFFER_EMPTY : JITTERBUFFER_WAIT;
	}
	wait = until_due(buffer, slot->timestamp, now);
	if (!buffer->playing)
		return wait > 0 ? JITTERBUFFER_WAIT : play(buffer, slot, missing, now, frame);
	ahead = (int32_t)(slot->timestamp - buffer->next_ticks);
	if (missing && ahead > 0 && !buffer->starved)
		return conceal(buffer, slot, missing, ahead, frame);
	if (ahead <= 0 || wait <= SLACK_US)
		return play(buffer, slot, missing, now, frame);
	*frame = (struct jitterbuffer_frame){.ticks = (uint32_t)ahead < most ? (uint32_t)ahead : most};
	return missing ? JITTERBUFFER_LOST : JITTERBUFFER_GAP;
}

void jitterbuffer_advance(struct jitterbuffer *buffer, uint32_t ticks)
{
	buffer->next_ticks += ticks;
}
