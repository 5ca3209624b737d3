/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A worker in a dead one's place. */
#include <string.h>
#include <unistd.h>

#include "flow_stage.h"
#include "relay_ice.h"
#include "running.h"

/* A pair in a dead worker's place: statistics, what was learned and keys of DTLS are in the slots still. */
static void resume_pair(struct running *running, __u32 number)
{
	const struct binding *bindings = running->shared->table->bindings;
	struct flow_slot *slots = running->shared->slots;
	const __u32 numbers[2] = {number, bindings[number].partner};
	struct engine_flow wanted[2];

	for (unsigned i = 0; i < 2; i++) {
		struct flow_slot *slot = &slots[numbers[i]];

		wanted[i] = running->shared->table->wanted[numbers[i]];
		if (!slot->partner)
			flow_open(slot, &wanted[i], -1, NULL);
		slot->crypto = NULL;
		slot->stage = NULL;
		slot->ice = NULL;
		slot->sent_ttl = 0;
		slot->socket = bindings[numbers[i]].socket;
		slot->partner = &slots[numbers[!i]];
	}
	worker_change_pair(running, &slots[numbers[0]], &slots[numbers[1]], wanted, true);
	for (unsigned i = 0; i < 2; i++) {
		struct flow_slot *slot = &slots[numbers[i]];
		const struct engine_stage *stage = &running->shared->stages[numbers[i]];

		if (stage->type)
			flow_stage_set(&slot->stage, stage, relay_clock());
		if (slot->wanted.ice && running->shared->ices[numbers[i]].role)
			relay_ice_set(&running->relay, slot, &running->shared->ices[numbers[i]]);
		timers_note(running, slot);
		if (worker_watch(running, slot->socket, slot))
			_exit(1);
	}
}

static void resume_flows(struct running *running)
{
	const struct table *table = running->shared->table;

	for (__u32 number = 0; number < table->capacity; number++) {
		const struct binding *binding = &table->bindings[number];

		if (binding->key.port && binding->worker == running->number && number < binding->partner)
			resume_pair(running, number);
	}
}

/* Wires of a dead worker, with what waits in them. */
static void resume_wires(struct running *running)
{
	const struct wire_files *files = &running->shared->wire_files[running->number * ENGINE_WIRES];

	for (unsigned i = 0; i < ENGINE_WIRES; i++) {
		struct engine_wire *wire = &running->page->wires[i];

		if (wire->ifindex && files[i].open)
			worker_open_wire(running, wire, (const int[]){files[i].descriptor, files[i].memory});
		else
			memset(wire, 0, sizeof(*wire));
	}
}

void worker_resume(struct running *running)
{
	resume_flows(running);
	resume_wires(running);
}
