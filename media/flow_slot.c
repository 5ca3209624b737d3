/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "flow_slot.h"

#include <openssl/crypto.h>
#include <string.h>

/* Towards the leg that `source` receives from: its learned port counts more than the one that was named. */
static void aim(struct flow_slot *slot, const struct flow_slot *source)
{
	const struct engine_flow *wanted = &slot->wanted;
	bool found = source->learned && !source->wanted.apart;
	__be16 port = found ? source->learned : htons(wanted->target_port);

	if (source->wanted.ice) {
		address_to_socket(source->paired.address, source->paired.port, &slot->target);
		return;
	}
	if (found && flow_latches(source)) {
		address_to_socket(source->tally.latch_address, port, &slot->target);
		return;
	}
	if (address_is_zero(wanted->target_address))
		port = 0;
	address_to_socket(wanted->target_address, port, &slot->target);
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
	return !memcmp(source->wanted.source_address, wanted->source_address, 16) &&
	       source->wanted.source_port == wanted->source_port && source->wanted.latch == wanted->latch &&
	       source->wanted.apart == wanted->apart &&
	       !memcmp(partner->wanted.target_address, wanted_partner->target_address, 16) &&
	       partner->wanted.target_port == wanted_partner->target_port;
}

static bool same_source(const struct engine_flow *one, const struct engine_flow *other)
{
	return one->source_port == other->source_port && one->latch == other->latch &&
	       !memcmp(one->source_address, other->source_address, sizeof(one->source_address));
}

/* The source of now goes on being heard, or where it has sent nothing either, the one before it. */
static void keep_former(struct flow_slot *slot, const struct engine_flow *wanted)
{
	struct flow_former *former = &slot->former;

	if (slot->wanted.held || wanted->held || slot->wanted.ice || wanted->ice) {
		former->port = 0;
	} else if (!same_source(&slot->wanted, wanted) && !former->port) {
		memcpy(former->address, flow_source_address(slot), sizeof(former->address));
		former->port = flow_bound_port(slot);
	}
	if (former->port == htons(wanted->source_port) &&
	    !memcmp(former->address, wanted->source_address, sizeof(former->address)))
		former->port = 0;
}

/* Keys from DTLS go with the association: other certificate or role, other keys. */
static void forget_derived(struct flow_slot *slot, const struct engine_flow *wanted,
			   struct flow_slot *partner)
{
	if (!slot->derived || !memcmp(&slot->wanted.dtls, &wanted->dtls, sizeof(wanted->dtls)))
		return;
	slot->derived = 0;
	OPENSSL_cleanse(&slot->open_keys, sizeof(slot->open_keys));
	OPENSSL_cleanse(&partner->seal_keys, sizeof(partner->seal_keys));
}

static void unlearn(struct flow_slot *slot)
{
	slot->learned = 0;
	slot->candidate.count = 0;
}

/* What was counted until now was counted for another carrier's time. */
static void count_afresh(struct flow_slot *slot)
{
	memset(&slot->track, 0, sizeof(slot->track));
	memset(&slot->tally, 0, sizeof(slot->tally));
	slot->forged = slot->replayed = 0;
}

static void apply(struct flow_slot *slot, const struct engine_flow *wanted)
{
	slot->wanted = *wanted;
	if (!wanted->ice)
		memset(&slot->paired, 0, sizeof(slot->paired));
	if (wanted->afresh)
		count_afresh(slot);
	if (!wanted->dtls.role)
		slot->open_keys = wanted->open;
}

/* The source that the flow had with another carrier, which has not learned anything here. */
static void bind_given(struct flow_slot *slot)
{
	const struct engine_flow *wanted = &slot->wanted;

	if (!wanted->bound.port || wanted->source_port || slot->learned || wanted->dtls.role || wanted->ice)
		return;
	if (flow_latches(slot))
		memcpy(slot->tally.latch_address, wanted->bound.address, sizeof(slot->tally.latch_address));
	slot->learned = htons(wanted->bound.port);
}

void flow_change_pair(struct flow_slot *one, const struct engine_flow *wanted_one, struct flow_slot *other,
		      const struct engine_flow *wanted_other)
{
	keep_former(one, wanted_one);
	keep_former(other, wanted_other);
	if (!same_leg(one, wanted_one, other, wanted_other))
		unlearn(one);
	if (!same_leg(other, wanted_other, one, wanted_one))
		unlearn(other);
	forget_derived(one, wanted_one, other);
	forget_derived(other, wanted_other, one);
	apply(one, wanted_one);
	apply(other, wanted_other);
	bind_given(one);
	bind_given(other);
	if (!wanted_other->dtls.role)
		one->seal_keys = wanted_one->seal;
	if (!wanted_one->dtls.role)
		other->seal_keys = wanted_other->seal;
	aim(one, other);
	aim(other, one);
}

void flow_learn(struct flow_slot *slot, __be16 port)
{
	slot->learned = port;
	aim(slot->partner, slot);
}

void flow_repair(struct flow_slot *slot)
{
	aim(slot->partner, slot);
}

__be16 flow_bound_port(const struct flow_slot *slot)
{
	return slot->wanted.source_port ? htons(slot->wanted.source_port) : slot->learned;
}

void flow_report(const struct flow_slot *slot, struct engine_report *report)
{
	memset(report, 0, sizeof(*report));
	report->key = slot->wanted.local;
	report->clock_rate = slot->wanted.clock_rate;
	report->learned_port = ntohs(slot->learned);
	if (slot->learned && flow_latches(slot))
		memcpy(report->learned_address, slot->tally.latch_address, sizeof(report->learned_address));
	report->learned_target = ntohs(slot->partner->learned);
	report->security = slot->security;
	report->suite = slot->open_keys.suite;
	report->ice = slot->paired.state;
	report->selected_port = ntohs(slot->paired.port);
	memcpy(report->selected_address, slot->paired.address, sizeof(report->selected_address));
	report->checks = slot->paired.checks;
	report->refused = slot->paired.refused;
	report->wired_in = slot->wired_in;
	report->wired_out = slot->wired_out;
	report->forged = slot->forged;
	report->replayed = slot->replayed;
	report->track = slot->track;
	report->tally = slot->tally;
}
