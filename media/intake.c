/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "intake.h"

#include <string.h>
#include <unistd.h>

#include "frame.h"

#define TAKEN	64  /* frames at once */
#define HEADERS 256 /* bytes of a voice packet, about */

static struct handover *between(const struct exchange *exchange, unsigned giver, unsigned taker)
{
	return &exchange->handovers[giver * exchange->workers + taker];
}

static void count(struct intake *intake, enum reason reason, size_t bytes)
{
	struct reason_count *counter = &intake->relay->page->reasons[reason];

	counter->packets++;
	counter->bytes += bytes;
}

static void hand_over(struct intake *intake, unsigned taker, const struct frame *frame)
{
	struct handover *handover = between(intake->exchange, intake->number, taker);
	struct handed *handed = handover_room(handover);

	if (!handed) {
		count(intake, REASON_POLICED, frame->length);
		return;
	}
	memcpy(handed->local.address, frame->local, sizeof(frame->local));
	handed->local.port = frame->port;
	handed->source = frame->source;
	handed->length = (__u32)frame->length;
	handed->ttl = frame->ttl;
	handed->tos = frame->tos;
	memcpy(handed->data, frame->payload, frame->length);
	handover_give(handover);
	intake->called |= 1ULL << taker;
}

/* What a frame is, and whose; ours: NULL where it is not a flow's of this worker. */
struct arrival {
	struct frame frame;
	struct flow_slot *ours;
};

static void arrive(struct intake *intake, const struct xsk_frame *raw, struct arrival *arrival)
{
	struct frame *frame = &arrival->frame;
	enum reason reason = REASON_BAD_LENGTH;
	struct port_owner owner;

	arrival->ours = NULL;
	if (raw->length <= WIRE_FRAME)
		reason = frame_read(raw->data, raw->length, frame);
	if (reason == REASON_FORWARDED &&
	    !ports_find(intake->exchange->ports, frame->local, frame->port, &owner))
		reason = REASON_UNKNOWN_PORT;
	if (reason != REASON_FORWARDED)
		count(intake, reason, raw->length);
	else if (owner.worker != intake->number)
		hand_over(intake, owner.worker, frame);
	else
		arrival->ours = &intake->slots[owner.slot];
	if (arrival->ours)
		flow_fetch(arrival->ours);
}

static void move(struct intake *intake, struct arrival *arrival)
{
	relay_datagram(intake->relay, arrival->ours,
		       &(struct relay_packet){
			       .data = arrival->frame.payload,
			       .length = arrival->frame.length,
			       .source = &arrival->frame.source,
			       .ttl = arrival->frame.ttl,
			       .tos = arrival->frame.tos,
		       });
}

/*
 * A packet every 20 ms finds nothing of its flow in the cache. So all are looked at first, and while one is
 * looked at, the memory that those before it need is on its way.
 */
static void move_all(struct intake *intake, const struct xsk_frame *frames, unsigned count)
{
	struct arrival arrivals[TAKEN];
	unsigned ours = 0;

	for (unsigned i = 0; i < count; i++)
		fetch(frames[i].data, HEADERS);
	for (unsigned i = 0; i < count; i++) {
		arrive(intake, &frames[i], &arrivals[ours]);
		ours += arrivals[ours].ours != NULL;
	}
	for (unsigned i = 0; i < ours; i++)
		flow_fetch_crypto(arrivals[i].ours);
	for (unsigned i = 0; i < ours; i++)
		flow_fetch_keys(arrivals[i].ours);
	for (unsigned i = 0; i < ours; i++)
		move(intake, &arrivals[i]);
}

void intake_ring(const struct exchange *exchange, unsigned worker)
{
	__u64 one = 1;

	if (write(exchange->bells[worker], &one, sizeof(one)) < 0)
		return; /* it has been rung more often than anybody could count */
}

static void ring_bells(struct intake *intake)
{
	const struct exchange *exchange = intake->exchange;

	for (unsigned taker = 0; intake->called; taker++, intake->called >>= 1)
		if (intake->called & 1 && __atomic_load_n(&exchange->pages[taker].asleep, __ATOMIC_SEQ_CST))
			intake_ring(exchange, taker);
}

unsigned intake_wire(struct intake *intake, struct wire *wire)
{
	struct xsk_frame frames[TAKEN];
	unsigned taken = xsk_take(&wire->xsk, frames, TAKEN);

	intake->relay->now = relay_clock();
	move_all(intake, frames, taken);
	xsk_give(&wire->xsk, frames, taken);
	wire->page->received += taken;
	ring_bells(intake);
	return taken;
}

static void move_handed(struct intake *intake, struct handed *handed)
{
	struct port_owner owner;

	/* The flow may have ended since, and the port be another's. */
	if (!ports_find(intake->exchange->ports, handed->local.address, handed->local.port, &owner) ||
	    owner.worker != intake->number) {
		count(intake, REASON_UNKNOWN_PORT, handed->length);
		return;
	}
	relay_datagram(intake->relay, &intake->slots[owner.slot],
		       &(struct relay_packet){
			       .data = handed->data,
			       .length = handed->length,
			       .source = &handed->source,
			       .ttl = handed->ttl,
			       .tos = handed->tos,
		       });
}

unsigned intake_handed(struct intake *intake)
{
	const struct exchange *exchange = intake->exchange;
	unsigned moved = 0;

	for (unsigned giver = 0; giver < exchange->workers; giver++) {
		struct handover *handover = between(exchange, giver, intake->number);
		struct handed *handed;

		while (giver != intake->number && (handed = handover_take(handover))) {
			if (!moved++)
				intake->relay->now = relay_clock();
			move_handed(intake, handed);
			handover_done(handover);
		}
	}
	return moved;
}

static bool is_called(const struct intake *intake)
{
	const struct exchange *exchange = intake->exchange;

	for (unsigned giver = 0; giver < exchange->workers; giver++)
		if (giver != intake->number && handover_take(between(exchange, giver, intake->number)))
			return true;
	return false;
}

bool intake_sleep(struct intake *intake)
{
	__atomic_store_n(&intake->relay->page->asleep, 1, __ATOMIC_SEQ_CST);
	return !is_called(intake);
}

void intake_awake(struct intake *intake, bool rung)
{
	__u64 times;

	__atomic_store_n(&intake->relay->page->asleep, 0, __ATOMIC_RELAXED);
	if (rung && read(intake->exchange->bells[intake->number], &times, sizeof(times)) < 0)
		return; /* a predecessor, who has died since, has heard it */
}
