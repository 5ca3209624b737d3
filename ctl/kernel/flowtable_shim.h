/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The writer's side of bpf/flow.h on the two mapped arrays: entries change under the kernel's eyes, so the
 * order of stores and the width of each matter, which Python cannot promise. And whole-table reads, which it
 * cannot afford.
 *
 * The kernel takes a rule as it finds it and looks at the control word again when the packet is rewritten: it
 * drops the packet if the word is another. As every change begins with a store of FLOW_OFF to that word and
 * ends with another generation in it, nothing made of two rules ever leaves, however long a packet takes, and
 * the writer need not wait for it. It waits only for what a packet under way could undo: it could add to a
 * counter that was cleared meanwhile and so bring the former call's sum back, or tell the partner too late
 * what was learned in a generation that is over.
 */
#ifndef VOXDP_FLOWTABLE_SHIM_H
#define VOXDP_FLOWTABLE_SHIM_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include "flow.h"
#include "flowrule_shim.h"

#define GROUP_MAX 2    /* flows that share a generation: both of a pair, or one alone */
#define SETTLE_NS 2000 /* a packet that found the entry on is through with it; one takes 100 ns */
#define PREFETCH  8    /* flows ahead */
#define TAG_SHIFT 16

/* The two maps, mapped, and the relay's addresses by slot in network order. */
struct flow_table {
	struct flow *flows;
	struct flow_ledger *ledgers;
	uint32_t entries;
	uint32_t generation; /* the one given last */
	uint32_t addresses[RELAY_ADDRESSES][ADDRESS_WORDS];
};

/* The first eight bytes of a rule, which the kernel reads at once. */
union control_word {
	uint64_t word;
	struct {
		uint32_t generation;
		uint8_t state;
		uint8_t action;
		uint16_t flags;
	};
};

static uint64_t *control_of(struct flow *flow)
{
	return (uint64_t *)(void *)flow;
}

static union control_word control_load(struct flow *flow)
{
	union control_word control = {.word = __atomic_load_n(control_of(flow), __ATOMIC_ACQUIRE)};

	return control;
}

static void control_store(struct flow *flow, union control_word control)
{
	__atomic_store_n(control_of(flow), control.word, __ATOMIC_RELEASE);
}

/* Returns whether the entry was on. Generation, counters and rule stay for readers. */
static bool flow_off(struct flow *flow)
{
	union control_word control = control_load(flow);
	bool was_on = control.state != FLOW_OFF;

	control.state = FLOW_OFF;
	control_store(flow, control);
	return was_on;
}

static uint64_t nanoseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void settle(void)
{
	uint64_t start = nanoseconds();

	while (nanoseconds() - start < SETTLE_NS)
		;
}

/*
 * Takes a flow out of forwarding while its rule is written; returns whether a packet under way could undo
 * what is to be written. What comes meanwhile is dropped, or goes to the engine where that has the flow or is
 * to have it: on a move between the two its sockets are open at either end, and no packet is lost.
 */
static bool flow_aside(struct flow *flow, uint8_t action, bool fresh)
{
	union control_word control = control_load(flow);
	bool learning = control.state != FLOW_PINNED;

	if (action != ACTION_ENGINE && control.action != ACTION_ENGINE)
		return flow_off(flow) && (fresh || learning);
	control.action = ACTION_ENGINE;
	control_store(flow, control);
	return control.state != FLOW_OFF; /* one under way leaves by the rule that it found */
}

/* Before a rule is written over: a packet that is under way for longer than settling takes is dropped at its
 * end. */
static void flow_supersede(struct flow *flow, uint32_t generation)
{
	union control_word control = control_load(flow);

	control.generation = generation;
	control_store(flow, control);
}

/*
 * Changes flags alone, of a flow in whatever state: packets under way are dropped by none, as the generation
 * stays, and take the way that the former flags ask for. Returns false if a rule was never written.
 */
static bool flow_set_flags(struct flow *flow, uint16_t set, uint16_t clear)
{
	union control_word before = control_load(flow), after = before;

	after.flags = (uint16_t)((before.flags & ~clear) | set);
	if (!before.generation)
		return false;
	flow->track.express = 0;
	control_store(flow, after);
	return true;
}

/* Clears flags of every flow that has one of them; returns how many did. */
static uint32_t flows_clear_flags(const struct flow_table *table, uint16_t flags)
{
	uint32_t found = 0;

	for (uint32_t i = 0; i < table->entries; i++)
		if (control_load(&table->flows[i]).flags & flags)
			found += flow_set_flags(&table->flows[i], 0, flags);
	return found;
}

/* What was learned in the generation of `control`, as it is to be written in `generation`; 0: nothing. */
static uint32_t learned_again(uint32_t learned, union control_word control, uint32_t generation)
{
	if (!learned || learned >> TAG_SHIFT != (control.generation & 0xffff))
		return 0;
	return generation << TAG_SHIFT | (learned & 0xffff);
}

static bool same_address(const void *one, const void *other)
{
	return memcmp(one, other, sizeof(uint32_t[ADDRESS_WORDS])) == 0;
}

static bool has_latched(const struct flow_tally *tally)
{
	static const uint8_t nowhere[sizeof(tally->latch_address)];

	return !same_address(tally->latch_address, nowhere);
}

/*
 * A learned source port holds on, also while the flow is off, as long as it is to be learned from the same
 * address: the other direction still sends there. A latched source holds on while the flow latches.
 */
static uint32_t kept_binding(struct flow *flow, const struct flow_ledger *ledger,
			     const struct flow_rule *rule, const struct flow_wide *wide, uint32_t generation)
{
	const void *latched = ledger->tally.latch_address;

	if (rule->state == FLOW_PINNED || !same_address(ledger->wide.source_address, wide->source_address))
		return 0;
	if (rule->state == FLOW_LATCHING && !has_latched(&ledger->tally))
		return 0;
	if (rule->state == FLOW_LEARNING && has_latched(&ledger->tally) &&
	    !same_address(latched, wide->source_address))
		return 0;
	return learned_again(flow->track.binding, control_load(flow), generation);
}

/* What a fresh flow is bound to: the source that it had with another carrier. */
static uint32_t given_binding(const struct flow_wanted *wanted, uint32_t generation)
{
	if (!wanted->bound_port || (wanted->state != FLOW_LEARNING && wanted->state != FLOW_LATCHING))
		return 0;
	return generation << TAG_SHIFT | htons(wanted->bound_port);
}

/* Rule and settings, all but the control word. What the kernel found out of the rule before is void. */
static void flow_fill(struct flow *flow, struct flow_ledger *ledger, const struct flow_rule *rule,
		      const struct flow_wide *wide, uint32_t tenant)
{
	const size_t head = sizeof(union control_word);

	memcpy((char *)&flow->rule + head, (const char *)rule + head, sizeof(*rule) - head);
	ledger->wide = *wide;
	ledger->wide.tenant = tenant;
	flow->track.express = 0;
}

static void flow_clear_counters(struct flow *flow, struct flow_ledger *ledger)
{
	flow->police_time = 0;
	memset(&flow->track, 0, sizeof(flow->track));
	memset(&ledger->tally, 0, sizeof(ledger->tally));
}

static union control_word control_of_rule(const struct flow_rule *rule, uint32_t generation)
{
	union control_word control = {
		.generation = generation, .state = rule->state, .action = rule->action, .flags = rule->flags};

	return control;
}

/* The same for a flow that is still aside: off, or with the engine. */
static union control_word control_aside(struct flow *flow, const struct flow_rule *rule, uint32_t generation)
{
	union control_word before = control_load(flow), control = control_of_rule(rule, generation);

	if (before.state == FLOW_OFF)
		control.state = FLOW_OFF;
	else
		control.action = ACTION_ENGINE;
	return control;
}

/* Where in the group the flow's partner is; `size`: not in it. */
static unsigned int partner_place(const struct flow_wide *wide, const struct flow_wanted *group,
				  unsigned int size)
{
	unsigned int place = 0;

	while (place < size && group[place].index != wide->partner)
		place++;
	return place;
}

static uint32_t next_generation(struct flow_table *table)
{
	if (!++table->generation)
		table->generation = 1;
	return table->generation;
}

/*
 * Writes flows that share a generation, so that no packet sees half of it: all aside, given the generation,
 * filled while still aside, then on.
 */
static void group_write(struct flow_table *table, const struct flow_wanted *group, unsigned int size,
			uint32_t tenant, bool fresh)
{
	uint32_t generation = next_generation(table), binding[GROUP_MAX + 1] = {0};
	struct flow_ledger *ledgers[GROUP_MAX];
	struct flow_rule rules[GROUP_MAX];
	struct flow_wide wide[GROUP_MAX];
	struct flow *flows[GROUP_MAX];
	bool wait = false, latched[GROUP_MAX + 1] = {false};

	for (unsigned int i = 0; i < size; i++) {
		flows[i] = &table->flows[group[i].index];
		ledgers[i] = &table->ledgers[group[i].index];
		rule_encode(&group[i], table->addresses[group[i].index / FLOWS_PER_ADDRESS], &rules[i],
			    &wide[i]);
		wait |= flow_aside(flows[i], group[i].action, fresh);
	}
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (wait)
		settle();
	for (unsigned int i = 0; i < size && fresh; i++) {
		binding[i] = given_binding(&group[i], generation);
		latched[i] = binding[i] && rules[i].state == FLOW_LATCHING;
	}
	for (unsigned int i = 0; i < size && !fresh; i++) { /* each is where the partner sends to, too */
		binding[i] = kept_binding(flows[i], ledgers[i], &rules[i], &wide[i], generation);
		latched[i] = rules[i].state != FLOW_LEARNING && has_latched(&ledgers[i]->tally);
	}
	for (unsigned int i = 0; i < size; i++)
		flow_supersede(flows[i], generation);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (unsigned int i = 0; i < size; i++) {
		unsigned int partner = partner_place(&wide[i], group, size);

		if (partner < size && group[partner].state == FLOW_LATCHING)
			rules[i].flags |= FLAG_MOVABLE;
		if (fresh)
			flow_clear_counters(flows[i], ledgers[i]);
		if (fresh && latched[i])
			memcpy(ledgers[i]->tally.latch_address, group[i].bound_address,
			       sizeof(ledgers[i]->tally.latch_address));
		flows[i]->track.binding = binding[i];
		flows[i]->track.target = binding[partner];
		flows[i]->track.moved = latched[partner];
		flow_fill(flows[i], ledgers[i], &rules[i], &wide[i], tenant);
		control_store(flows[i], control_aside(flows[i], &rules[i], generation));
	}
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (unsigned int i = 0; i < size; i++)
		control_store(flows[i], control_of_rule(&rules[i], generation));
}

/*
 * Writes `count` flows in groups of `size`, 1 or GROUP_MAX, each of which gets a generation of its own. With
 * `fresh` the counters begin anew, and all flows are aside before the first is written, so that waiting once
 * does for all; otherwise counters stay, and so does what was learned where its source is the same, and no
 * flow is aside for longer than its own group takes. `packed` holds struct flow_wanted. Returns false, having
 * written nothing, if an index is not in the table.
 */
static bool flows_write(struct flow_table *table, const void *packed, uint32_t count, uint32_t size,
			uint32_t tenant, bool fresh)
{
	const struct flow_wanted *wanted = packed;
	bool wait = false;

	for (uint32_t i = 0; i < count; i++)
		if (wanted[i].index >= table->entries)
			return false;
	for (uint32_t i = 0; i < count && fresh; i++)
		wait |= flow_aside(&table->flows[wanted[i].index], wanted[i].action, fresh);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (wait)
		settle();
	for (uint32_t i = 0; i < count; i += size)
		group_write(table, &wanted[i], size, tenant, fresh);
	return true;
}

/* Indexes of the entries that are on, at most `capacity`; returns how many were found. */
static uint32_t flows_active(const struct flow_table *table, uint32_t *indexes, uint32_t capacity)
{
	uint32_t found = 0;

	for (uint32_t i = 0; i < table->entries; i++) {
		union control_word control = control_load(&table->flows[i]);

		if (control.generation && control.state != FLOW_OFF) {
			if (found < capacity)
				indexes[found] = i;
			found++;
		}
	}
	return found;
}

/* The highest generation in the table. */
static uint32_t flows_generation(const struct flow_table *table)
{
	uint32_t highest = 0;

	for (uint32_t i = 0; i < table->entries; i++) {
		uint32_t generation = control_load(&table->flows[i]).generation;

		if (generation > highest)
			highest = generation;
	}
	return highest;
}

/* The same counter of many flows side by side; what `flows_columns` fills. */
struct flow_columns {
	uint64_t *packets, *bytes, *last_seen, *rejected, *dropped;
	uint32_t *jitter, *largest_gap, *lost, *reordered, *duplicates, *payload_type;
};

/* Returns false, having read nothing beyond the table, if an index is not in it. */
static bool flows_columns(const struct flow_table *table, const uint32_t *indexes, uint32_t count,
			  const struct flow_columns *columns)
{
	for (uint32_t i = 0; i < count; i++) {
		if (indexes[i] >= table->entries)
			return false;
		if (i + PREFETCH < count) {
			__builtin_prefetch(&table->flows[indexes[i + PREFETCH]].track);
			__builtin_prefetch(&table->ledgers[indexes[i + PREFETCH]].tally);
		}
		const struct flow_track *track = &table->flows[indexes[i]].track;
		const struct flow_tally *tally = &table->ledgers[indexes[i]].tally;

		columns->packets[i] = track->packets;
		columns->bytes[i] = track->bytes;
		columns->last_seen[i] = track->last_seen;
		columns->jitter[i] = track->jitter;
		columns->largest_gap[i] = track->largest_gap;
		columns->rejected[i] = tally->rejected;
		columns->dropped[i] = tally->dropped;
		columns->lost[i] = tally->lost;
		columns->reordered[i] = tally->reordered;
		columns->duplicates[i] = tally->duplicates;
		columns->payload_type[i] = track->payload_type;
	}
	return true;
}

#endif
