/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the engine asks of a worker, one command at a time, between two batches of packets. */
#include <errno.h>
#include <unistd.h>

#include "flow_stage.h"
#include "relay_ice.h"
#include "running.h"

#define ROUNDS 64 /* in which a wire gives all that waits on it */

static void update_crypto(struct running *running, struct flow_slot *slot, bool renew)
{
	flow_crypto_update(&running->relay.place, slot, renew);
	timers_note(running, slot);
}

void worker_change_pair(struct running *running, struct flow_slot *one, struct flow_slot *other,
			const struct engine_flow *wanted, bool renew)
{
	flow_change_pair(one, &wanted[0], other, &wanted[1]);
	if (!wanted[0].ice)
		relay_ice_drop(one);
	if (!wanted[1].ice)
		relay_ice_drop(other);
	flow_crypto_recall(&running->relay.place, one);
	flow_crypto_recall(&running->relay.place, other);
	update_crypto(running, one, renew || wanted[0].resumed);
	update_crypto(running, other, renew || wanted[1].resumed);
}

static void drop(struct running *running, struct flow_slot *slot)
{
	flow_stage_drop(&slot->stage);
	relay_ice_drop(slot);
	flow_crypto_drop(&running->relay.place, slot);
	timers_note(running, slot);
	if (slot->companion)
		slot->companion->companion = NULL;
	slot->companion = NULL;
	close(slot->socket);
}

/* RTCP is opened behind its RTP, whose SSRCs it speaks of. */
static void join(const struct running *running, struct flow_slot *slot, __u32 number)
{
	if (number == NO_SLOT)
		return;
	slot->companion = &running->shared->slots[number];
	slot->companion->companion = slot;
}

static void open_pair(struct running *running, struct command *command, const int *sockets)
{
	struct flow_slot *one = &running->shared->slots[command->slots[0]];
	struct flow_slot *other = &running->shared->slots[command->slots[1]];

	flow_open(one, &command->wanted[0], sockets[0], other);
	flow_open(other, &command->wanted[1], sockets[1], one);
	join(running, one, command->companions[0]);
	join(running, other, command->companions[1]);
	worker_change_pair(running, one, other, command->wanted, false);
	if (!worker_watch(running, one->socket, one) && !worker_watch(running, other->socket, other))
		return;
	command->error = errno;
	command->status = ENGINE_SYSTEM;
	drop(running, one);
	drop(running, other);
}

static void read_slots(const struct running *running, struct command *command)
{
	for (unsigned i = 0; i < command->count; i++)
		flow_report(&running->shared->slots[command->slots[i]], &command->reports[i]);
}

static void take_in(struct running *running)
{
	struct wires *wires = &running->relay.wires;

	for (unsigned i = 0; i < wires->count; i++)
		for (unsigned rounds = 0; rounds < ROUNDS && intake_wire(&running->intake, &wires->wires[i]);)
			rounds++;
	intake_handed(&running->intake);
	running->behind = !wires_kick(wires);
}

/*
 * What came before another carrier took the flows over is on wires and in sockets yet: it goes on its way
 * first.
 */
static void close_slots(struct running *running, struct command *command)
{
	take_in(running);
	for (unsigned i = 0; i < command->count; i++) {
		struct flow_slot *slot = &running->shared->slots[command->slots[i]];

		ports_clear(running->shared->exchange->ports, &slot->wanted.local);
		relay_socket(&running->relay, slot);
	}
	read_slots(running, command);
	for (unsigned i = 0; i < command->count; i++)
		drop(running, &running->shared->slots[command->slots[i]]);
}

static void set_stage(struct running *running, struct command *command)
{
	struct flow_slot *slot = &running->shared->slots[command->slots[0]];

	command->error = flow_stage_set(&slot->stage, &command->stage, relay_clock());
	if (command->error)
		command->status = command->error == ENOMEM ? ENGINE_SYSTEM : ENGINE_BAD_STAGE;
	timers_note(running, slot);
}

static void read_stage(const struct running *running, struct command *command)
{
	const struct flow_stage *stage = running->shared->slots[command->slots[0]].stage;

	command->stage.length = 0;
	if (stage)
		command->stage.length =
			(__u32)stage->type->report(stage->state, command->stage.settings, ENGINE_STAGE_BYTES);
}

static void set_ice(struct running *running, struct command *command)
{
	struct flow_slot *slot = &running->shared->slots[command->slots[0]];

	command->error = relay_ice_set(&running->relay, slot, &command->ice);
	if (command->error)
		command->status = command->error == ENOMEM ? ENGINE_SYSTEM : ENGINE_BAD_FLOW;
	timers_note(running, slot);
}

int worker_open_wire(struct running *running, struct engine_wire *wire, const int *files)
{
	int failed = wires_add(&running->relay.wires, wire, files[0], files[1]) ||
		     worker_watch(running, files[0], wire);

	if (failed)
		memset(wire, 0, sizeof(*wire));
	return failed;
}

static void add_wire(struct running *running, struct command *command, const int *files)
{
	struct engine_wire *wire = &running->page->wires[command->slots[0]];

	*wire = command->wire;
	if (!worker_open_wire(running, wire, files))
		return;
	command->status = ENGINE_SYSTEM;
	command->error = errno;
}

static void carry_out(struct running *running, struct command *command, const int *sockets)
{
	struct flow_slot *slots = running->shared->slots;

	command->status = ENGINE_OK;
	command->error = 0;
	switch (command->type) {
	case COMMAND_OPEN:
		open_pair(running, command, sockets);
		break;
	case COMMAND_CHANGE:
		worker_change_pair(running, &slots[command->slots[0]], &slots[command->slots[1]],
				   command->wanted, false);
		break;
	case COMMAND_CLOSE:
		close_slots(running, command);
		break;
	case COMMAND_READ:
		read_slots(running, command);
		break;
	case COMMAND_STAGE:
		set_stage(running, command);
		break;
	case COMMAND_STAGE_READ:
		read_stage(running, command);
		break;
	case COMMAND_ICE:
		set_ice(running, command);
		break;
	case COMMAND_WIRE:
		add_wire(running, command, sockets);
		break;
	case COMMAND_WIRES_READ:
		wires_count_dropped(&running->relay.wires);
		break;
	case COMMAND_UNWIRE:
		wires_drop_all(&running->relay.wires);
		break;
	}
}

/* The byte that asks, and the sockets that come with it. */
static bool receive(const struct running *running, int *sockets)
{
	union {
		struct cmsghdr align;
		__u8 bytes[CMSG_SPACE(2 * sizeof(int))];
	} control;
	char byte;
	struct iovec data = {&byte, 1};
	struct msghdr message = {
		.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *header;

	if (recvmsg(running->channel, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != 1)
		return false;
	header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_type == SCM_RIGHTS)
		memcpy(sockets, CMSG_DATA(header), 2 * sizeof(int));
	return true;
}

void worker_serve(struct running *running)
{
	int sockets[2] = {-1, -1};
	char byte = 1;

	if (!receive(running, sockets))
		_exit(0); /* the engine is gone */
	carry_out(running, &running->page->command, sockets);
	if (send(running->channel, &byte, 1, MSG_NOSIGNAL) != 1)
		_exit(0);
}
