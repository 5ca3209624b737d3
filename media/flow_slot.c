/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "flow_slot.h"

#include <string.h>

#define NANOSECONDS 1000000000ULL
#define CLOCK_BITS  42 /* see flow_rule.clock */

/* flow_track keeps what was learned as generation << 16 | port, so that a new generation forgets it. */
static __u32 tagged(const struct flow_slot *slot, __be16 port)
{
	return (slot->entry.rule.generation & 0xffff) << 16 | port;
}

static __be16 untagged(const struct flow_slot *slot, __u32 learned)
{
	return (learned ^ tagged(slot, 0)) >> 16 ? 0 : learned & 0xffff;
}

static void write_rule(struct flow_rule *rule, const struct engine_flow *wanted,
		       const struct engine_key *egress)
{
	rule->state = wanted->held ? FLOW_OFF : wanted->source_port ? FLOW_PINNED : FLOW_LEARNING;
	rule->action = ACTION_FORWARD;
	rule->flags = wanted->rtcp ? FLAG_RTCP : 0;
	rule->source_address = wanted->source_address;
	rule->source_port = htons(wanted->source_port);
	rule->egress_address = egress->address;
	rule->egress_port = htons(egress->port);
	rule->target_address = wanted->target_address;
	rule->target_port = htons(wanted->target_port);
	rule->dscp = wanted->dscp;
	rule->clock = (__u32)(((__u64)wanted->clock_rate << CLOCK_BITS) / NANOSECONDS);
}

static void apply(struct flow_slot *slot, const struct engine_flow *wanted)
{
	__be16 learned = untagged(slot, slot->entry.track.target);

	slot->wanted = *wanted;
	write_rule(&slot->entry.rule, wanted, &slot->partner->wanted.local);
	slot->target = (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_addr.s_addr = wanted->target_address,
		.sin_port = learned ? learned : htons(wanted->target_port),
	};
}

void flow_open(struct flow_slot *slot, const struct engine_flow *wanted, int socket,
	       struct flow_slot *partner)
{
	memset(slot, 0, sizeof(*slot));
	slot->wanted = *wanted;
	slot->socket = socket;
	slot->partner = partner;
}

/* A port learned at `source` stays true only as long as both ends of the leg are named as before. */
static bool same_leg(const struct flow_slot *source, const struct engine_flow *wanted,
		     const struct flow_slot *partner, const struct engine_flow *wanted_partner)
{
	return source->wanted.source_address == wanted->source_address &&
	       source->wanted.source_port == wanted->source_port &&
	       partner->wanted.target_address == wanted_partner->target_address &&
	       partner->wanted.target_port == wanted_partner->target_port;
}

/* Carries what a leg learned into the generation that comes, or drops it. */
static void keep_learned(struct flow_slot *source, struct flow_slot *partner, __u32 generation, bool keep)
{
	__be16 bound = untagged(source, source->entry.track.binding);
	__u32 learned = keep && bound ? generation << 16 | bound : 0;

	source->entry.track.binding = learned;
	partner->entry.track.target = learned;
}

void flow_change_pair(struct flow_slot *one, const struct engine_flow *wanted_one, struct flow_slot *other,
		      const struct engine_flow *wanted_other)
{
	__u32 generation = one->entry.rule.generation + 1;

	keep_learned(one, other, generation, same_leg(one, wanted_one, other, wanted_other));
	keep_learned(other, one, generation, same_leg(other, wanted_other, one, wanted_one));
	one->entry.rule.generation = generation;
	other->entry.rule.generation = generation;
	apply(one, wanted_one);
	apply(other, wanted_other);
}

void flow_learn(struct flow_slot *slot, __be16 port)
{
	struct flow_slot *partner = slot->partner;

	slot->entry.track.binding = tagged(slot, port);
	partner->entry.track.target = tagged(partner, port);
	partner->target.sin_port = port;
}

__be16 flow_bound_port(const struct flow_slot *slot)
{
	if (slot->entry.rule.state == FLOW_PINNED)
		return slot->entry.rule.source_port;
	return untagged(slot, slot->entry.track.binding);
}

void flow_report(const struct flow_slot *slot, struct engine_report *report)
{
	report->flow = slot->wanted;
	report->learned_port = ntohs(untagged(slot, slot->entry.track.binding));
	report->learned_target = ntohs(untagged(slot, slot->entry.track.target));
	report->track = slot->entry.track;
	report->tally = slot->tally;
}
