/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "dtmf.h"

#include <string.h>

#define DIGITS	 16
#define END	 0x80
#define VOLUME	 0x3f
#define LONGEST	 0xffff
#define LOST_NS	 200000000ULL /* reports come every 20 to 50 ms */
#define END_SENT 3	      /* times (RFC 4733 §2.5.1.4) */
#define SHORTEST 40	      /* ms, so that it is heard as a digit where it becomes a tone */

int dtmf_read(const uint8_t *payload, size_t length, struct dtmf_event *event)
{
	if (length < DTMF_PAYLOAD)
		return -1;
	*event = (struct dtmf_event){
		.event = payload[0],
		.end = payload[1] >> 7,
		.volume = payload[1] & VOLUME,
		.duration = (uint16_t)(payload[2] << 8 | payload[3]),
	};
	return 0;
}

void dtmf_write(const struct dtmf_event *event, uint8_t *payload)
{
	payload[0] = event->event;
	payload[1] = (uint8_t)((event->end ? END : 0) | (event->volume & VOLUME));
	payload[2] = (uint8_t)(event->duration >> 8);
	payload[3] = (uint8_t)event->duration;
}

/* A long event goes on in a segment that begins where the last one, of full length, ended. */
static int continues(const struct dtmf_receiver *receiver, uint32_t timestamp, const struct dtmf_event *event)
{
	return receiver->active && receiver->now.event == event->event &&
	       timestamp - receiver->timestamp == LONGEST;
}

static int is_late(const struct dtmf_receiver *receiver, uint32_t timestamp)
{
	return receiver->known && (int32_t)(timestamp - receiver->timestamp) < 0;
}

static enum dtmf_news begin(struct dtmf_receiver *receiver, uint32_t timestamp,
			    const struct dtmf_event *event)
{
	receiver->base = continues(receiver, timestamp, event) ? receiver->base + LONGEST : 0;
	receiver->known = 1;
	receiver->timestamp = timestamp;
	receiver->now = *event;
	receiver->active = !event->end;
	if (receiver->base)
		return event->end ? DTMF_ENDED : DTMF_GOES_ON;
	return event->end ? DTMF_ENDED : DTMF_BEGUN;
}

enum dtmf_news dtmf_receive(struct dtmf_receiver *receiver, uint32_t timestamp, const uint8_t *payload,
			    size_t length, uint64_t now)
{
	struct dtmf_event event;

	if (dtmf_read(payload, length, &event) || event.event >= DIGITS || is_late(receiver, timestamp))
		return DTMF_NOTHING;
	receiver->last = now;
	if (!receiver->known || timestamp != receiver->timestamp)
		return begin(receiver, timestamp, &event);
	if (!receiver->active || event.duration < receiver->now.duration)
		return DTMF_NOTHING;
	receiver->now = event;
	receiver->active = !event.end;
	return event.end ? DTMF_ENDED : DTMF_GOES_ON;
}

enum dtmf_news dtmf_expire(struct dtmf_receiver *receiver, uint64_t now)
{
	if (!receiver->active || now < receiver->last + LOST_NS)
		return DTMF_NOTHING;
	receiver->active = 0;
	return DTMF_ENDED;
}

uint32_t dtmf_duration(const struct dtmf_receiver *receiver)
{
	return receiver->base + receiver->now.duration;
}

uint8_t dtmf_covered(uint8_t mode, const struct dtmf_cover *cover, uint32_t seed)
{
	return mode == DTMF_RANDOM ? (uint8_t)((seed * 2654435761U) >> 28) : (uint8_t)(cover->digit % DIGITS);
}

int dtmf_queue(struct dtmf_sender *sender, const struct dtmf_digit *digit)
{
	if (digit->event >= DIGITS || sender->count == DTMF_QUEUE)
		return -1;
	sender->queue[(sender->first + sender->count++) % DTMF_QUEUE] = *digit;
	return 0;
}

void dtmf_release(struct dtmf_sender *sender)
{
	struct dtmf_digit *last = &sender->queue[(sender->first + sender->count - 1U) % DTMF_QUEUE];

	if (sender->count) {
		if (!last->ms)
			last->ms = SHORTEST;
	} else if (sender->active && !sender->now.ms) {
		sender->now.ms = (uint16_t)(sender->age > SHORTEST ? sender->age : SHORTEST);
	}
}

static void take_next(struct dtmf_sender *sender)
{
	sender->now = sender->queue[sender->first];
	sender->first = (uint8_t)((sender->first + 1) % DTMF_QUEUE);
	sender->count--;
	sender->age = 0;
	sender->active = sender->fresh = 1;
	sender->ending = 0;
}

static int begins(struct dtmf_sender *sender, unsigned ms)
{
	sender->pause = sender->pause > ms ? sender->pause - ms : 0;
	if (!sender->count || sender->pause)
		return 0;
	take_next(sender);
	return 1;
}

static void finish(struct dtmf_sender *sender)
{
	if (!sender->ending) {
		sender->ending = 1;
		sender->repeats = END_SENT;
	}
	if (!--sender->repeats) {
		sender->active = 0;
		sender->pause = sender->now.pause ? sender->now.pause : DTMF_PAUSE_MS;
	}
}

int dtmf_step(struct dtmf_sender *sender, unsigned ms, struct dtmf_event *report)
{
	if (!sender->active && !begins(sender, ms))
		return 0;
	if (!sender->ending)
		sender->age += ms;
	if (sender->ending || (sender->now.ms && sender->age >= sender->now.ms))
		finish(sender);
	*report = (struct dtmf_event){
		.event = sender->now.event,
		.end = sender->ending,
		.volume = sender->now.volume,
		.duration = (uint16_t)(sender->age < LONGEST ? sender->age : LONGEST),
	};
	return 1;
}
