/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What flows do without a packet: stages, ICE agents and handshakes whose time has come. */
#include "flow_stage.h"
#include "relay_ice.h"
#include "running.h"

#define PATIENCE  10000	      /* ms, the longest sleep; who wants to know whether it is alive, rings */
#define DTLS_TICK 50000000ULL /* ns between two looks at handshakes */
#define MOMENT	  1000000ULL  /* ns: what epoll can tell apart */
#define SLICE	  500000ULL   /* ns that flows may take before packets have their turn again */

static bool is_timed(const struct flow_slot *slot)
{
	return slot->stage || slot->ice || (slot->crypto && slot->crypto->dtls);
}

void timers_note(struct running *running, const struct flow_slot *slot)
{
	__u32 number = (__u32)(slot - running->shared->slots);
	unsigned place = 0;

	while (place < running->timed_count && running->timed[place] != number)
		place++;
	if (is_timed(slot) && place == running->timed_count)
		running->timed[running->timed_count++] = number;
	else if (!is_timed(slot) && place < running->timed_count)
		running->timed[place] = running->timed[--running->timed_count];
	running->due = running->dtls_due = 0;
	running->timed_left = 0;
}

static __u64 due_of(const struct flow_slot *slot)
{
	__u64 staged = slot->stage ? slot->stage->due : ~0ULL, paired = relay_ice_due(slot);

	return staged < paired ? staged : paired;
}

static void begin_round(struct running *running, __u64 now)
{
	running->timed_left = running->timed_count;
	running->next_due = ~0ULL;
	running->shakes = now >= running->dtls_due;
	if (running->shakes)
		running->dtls_due = now + DTLS_TICK;
}

/* The slot at that place; takes it off the list if it has nothing more to wait for. */
static void tick_one(struct running *running, unsigned place, __u64 now)
{
	struct flow_slot *slot = &running->shared->slots[running->timed[place]];
	__u64 due;

	if (due_of(slot) <= now || (running->shakes && slot->crypto && slot->crypto->dtls))
		relay_tick(&running->relay, slot);
	due = due_of(slot);
	if (due < running->next_due)
		running->next_due = due;
	if (!is_timed(slot))
		running->timed[place] = running->timed[--running->timed_count];
}

/*
 * Many streams are due at once, and codecs take their time: after a slice of it packets have their turn, and
 * then the round goes on.
 */
void timers_tick(struct running *running)
{
	__u64 now = relay_clock();

	if (!running->timed_left && running->timed_count && (now >= running->due || now >= running->dtls_due))
		begin_round(running, now);
	if (!running->timed_left)
		return;
	do
		tick_one(running, --running->timed_left, now);
	while (running->timed_left && running->relay.now < now + SLICE);
	if (!running->timed_left)
		running->due = running->next_due;
}

__u64 timers_due(const struct running *running)
{
	if (!running->timed_count)
		return ~0ULL;
	return running->due < running->dtls_due ? running->due : running->dtls_due;
}

int timers_patience(const struct running *running)
{
	__u64 now, due = timers_due(running);

	if (running->timed_left)
		return 0;
	if (running->behind)
		return 1;
	if (!running->timed_count)
		return PATIENCE;
	now = relay_clock();
	if (due <= now)
		return 0;
	due = (due - now + MOMENT - 1) / MOMENT;
	return due < PATIENCE ? (int)due : PATIENCE;
}
