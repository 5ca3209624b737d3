/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The writer's side of bpf/flow.h on the mapped array: entries change under the kernel's eyes, so the order
 * of stores and the width of each matter, which Python cannot promise. And whole-table reads, which it cannot
 * afford.
 */
#ifndef VOXDP_FLOWTABLE_SHIM_H
#define VOXDP_FLOWTABLE_SHIM_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include "flow.h"

#define FLOWS_WRITTEN_MAX 8
#define SETTLE_NS	  2000 /* a packet that found the entry on is through with it; one takes 100 ns */
#define PREFETCH	  8    /* flows ahead */
#define TAG_SHIFT	  16

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

/* What was learned in the generation of `control`, as it is to be written in `generation`; 0: nothing. */
static uint32_t learned_again(uint32_t learned, union control_word control, uint32_t generation)
{
	if (!learned || learned >> TAG_SHIFT != (control.generation & 0xffff))
		return 0;
	return generation << TAG_SHIFT | (learned & 0xffff);
}

/*
 * A learned source port holds on, also while the flow is off, as long as it is to be learned from the same
 * address: the other direction still sends there.
 */
static uint32_t kept_binding(const struct flow *flow, const struct flow_rule *rule, union control_word before,
			     uint32_t generation)
{
	if (rule->state == FLOW_PINNED || flow->rule.source_address != rule->source_address)
		return 0;
	return learned_again(flow->track.binding, before, generation);
}

/* All but the control word. */
static void rule_fill(struct flow *flow, const struct flow_rule *rule, uint32_t tenant)
{
	const size_t head = sizeof(union control_word);

	memcpy((char *)&flow->rule + head, (const char *)rule + head, sizeof(*rule) - head);
	memset(&flow->wide, 0, sizeof(flow->wide));
	flow->wide.tenant = tenant;
}

static void flow_clear_counters(struct flow *flow)
{
	memset(&flow->track, 0, sizeof(flow->track));
	memset(&flow->tally, 0, sizeof(flow->tally));
}

static union control_word control_of_rule(const struct flow_rule *rule, uint32_t generation, uint8_t state)
{
	union control_word control = {
		.generation = generation, .state = state, .action = rule->action, .flags = rule->flags};

	return control;
}

/* Where in `indexes` the flow's partner is; `count`: not among them. */
static unsigned int partner_place(const struct flow_rule *rule, const uint32_t *indexes, unsigned int count)
{
	unsigned int place = 0;

	while (place < count && indexes[place] != rule->partner)
		place++;
	return place;
}

/*
 * Writes up to FLOWS_WRITTEN_MAX entries, which share the new generation, so that no packet sees half of it:
 * all off, filled, given the generation while still off, then on. With `fresh` the counters begin anew;
 * otherwise they stay, and so does what was learned where its source is the same.
 */
static int flows_write(struct flow *base, const uint32_t *indexes, const struct flow_rule *rules,
		       uint32_t tenant, unsigned int count, uint32_t generation, bool fresh)
{
	union control_word before[FLOWS_WRITTEN_MAX];
	uint32_t binding[FLOWS_WRITTEN_MAX + 1] = {0};
	bool was_on = false;

	if (count > FLOWS_WRITTEN_MAX)
		return -1;
	for (unsigned int i = 0; i < count; i++) {
		before[i] = control_load(&base[indexes[i]]);
		was_on |= flow_off(&base[indexes[i]]);
	}
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (was_on)
		settle();
	for (unsigned int i = 0; i < count && !fresh; i++)
		binding[i] = kept_binding(&base[indexes[i]], &rules[i], before[i], generation);
	for (unsigned int i = 0; i < count; i++) {
		struct flow *flow = &base[indexes[i]];
		uint32_t target = learned_again(flow->track.target, before[i], generation);

		if (fresh)
			flow_clear_counters(flow);
		flow->track.binding = binding[i];
		flow->track.target = binding[partner_place(&rules[i], indexes, count)] ? target : 0;
		rule_fill(flow, &rules[i], tenant);
		control_store(flow, control_of_rule(&rules[i], generation, FLOW_OFF));
	}
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (unsigned int i = 0; i < count; i++)
		control_store(&base[indexes[i]], control_of_rule(&rules[i], generation, rules[i].state));
	return 0;
}

/* Indexes of the entries that are on, at most `capacity`; returns how many were found. */
static uint32_t flows_active(struct flow *base, uint32_t entries, uint32_t *indexes, uint32_t capacity)
{
	uint32_t found = 0;

	for (uint32_t i = 0; i < entries; i++) {
		union control_word control = control_load(&base[i]);

		if (control.generation && control.state != FLOW_OFF) {
			if (found < capacity)
				indexes[found] = i;
			found++;
		}
	}
	return found;
}

/* The highest generation in the table. */
static uint32_t flows_generation(struct flow *base, uint32_t entries)
{
	uint32_t highest = 0;

	for (uint32_t i = 0; i < entries; i++) {
		uint32_t generation = control_load(&base[i]).generation;

		if (generation > highest)
			highest = generation;
	}
	return highest;
}

/* The same counter of many flows side by side; what `flows_columns` fills. */
struct flow_columns {
	uint64_t *packets, *bytes, *last_seen, *rejected, *dropped;
	uint32_t *jitter, *largest_gap, *lost, *reordered, *duplicates;
};

/* Returns false, having read nothing beyond the table, if an index is not in it. */
static bool flows_columns(const struct flow *base, uint32_t entries, const uint32_t *indexes, uint32_t count,
			  const struct flow_columns *columns)
{
	for (uint32_t i = 0; i < count; i++) {
		if (indexes[i] >= entries)
			return false;
		if (i + PREFETCH < count) {
			__builtin_prefetch(&base[indexes[i + PREFETCH]].track);
			__builtin_prefetch(&base[indexes[i + PREFETCH]].tally);
		}
		const struct flow_track *track = &base[indexes[i]].track;
		const struct flow_tally *tally = &base[indexes[i]].tally;

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
	}
	return true;
}

#endif
