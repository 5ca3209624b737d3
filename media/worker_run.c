/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The worker's own side: its sockets, its commands and its loop. */
#include "worker.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "flow_stage.h"
#include "intake.h"
#include "relay.h"
#include "relay_ice.h"

#define READY	  256	      /* sockets looked at between two looks for commands */
#define PATIENCE  100	      /* ms without a packet after which it beats nonetheless */
#define DTLS_TICK 50000000ULL /* ns between two looks at handshakes */
#define NAP	  400000      /* ns */
#define BUSY	  1000000ULL  /* ns between two wakings, below which naps are worth it */
#define MOMENT	  1000000ULL  /* ns: what epoll can tell apart */

struct running {
	const struct worker_shared *shared;
	struct worker_page *page;
	unsigned number;
	int epoll;
	int channel;
	__u32 *timed; /* slots with a stage, an ICE agent or a handshake under way */
	unsigned timed_count;
	__u64 due; /* the earliest time that one of them waits for */
	__u64 dtls_due;
	__u64 woken; /* when it was last done with what was there */
	struct relay relay;
	struct intake intake;
	bool behind; /* packets wait on a wire that the kernel has not sent */
};

static int watch(const struct running *running, int descriptor, void *what)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = what};

	return epoll_ctl(running->epoll, EPOLL_CTL_ADD, descriptor, &event);
}

static bool is_timed(const struct flow_slot *slot)
{
	return slot->stage || slot->ice || (slot->crypto && slot->crypto->dtls);
}

/* Keeps the list of slots that have something to do without a packet. */
static void note_timed(struct running *running, const struct flow_slot *slot)
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
}

static void update_crypto(struct running *running, struct flow_slot *slot, bool renew)
{
	flow_crypto_update(&running->relay.place, slot, renew);
	note_timed(running, slot);
}

static void change_pair(struct running *running, struct flow_slot *one, struct flow_slot *other,
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
	note_timed(running, slot);
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
	change_pair(running, one, other, command->wanted, false);
	if (!watch(running, one->socket, one) && !watch(running, other->socket, other))
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

/* What came before another carrier took the flows over is in the sockets yet: it goes on its way first. */
static void close_slots(struct running *running, struct command *command)
{
	for (unsigned i = 0; i < command->count; i++)
		relay_socket(&running->relay, &running->shared->slots[command->slots[i]]);
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
	note_timed(running, slot);
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
	note_timed(running, slot);
}

/* Takes both files over. 0 or -1 with errno: then they are closed. */
static int open_wire(struct running *running, struct engine_wire *wire, const int *files)
{
	int failed =
		wires_add(&running->relay.wires, wire, files[0], files[1]) || watch(running, files[0], wire);

	if (failed)
		memset(wire, 0, sizeof(*wire));
	return failed;
}

static void add_wire(struct running *running, struct command *command, const int *files)
{
	struct engine_wire *wire = &running->page->wires[command->slots[0]];

	*wire = command->wire;
	if (!open_wire(running, wire, files))
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
		change_pair(running, &slots[command->slots[0]], &slots[command->slots[1]], command->wanted,
			    false);
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

static void serve(struct running *running)
{
	int sockets[2] = {-1, -1};
	char byte = 1;

	if (!receive(running, sockets))
		_exit(0); /* the engine is gone */
	carry_out(running, &running->page->command, sockets);
	if (send(running->channel, &byte, 1, MSG_NOSIGNAL) != 1)
		_exit(0);
}

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
	change_pair(running, &slots[numbers[0]], &slots[numbers[1]], wanted, true);
	for (unsigned i = 0; i < 2; i++) {
		struct flow_slot *slot = &slots[numbers[i]];
		const struct engine_stage *stage = &running->shared->stages[numbers[i]];

		if (stage->type)
			flow_stage_set(&slot->stage, stage, relay_clock());
		if (slot->wanted.ice && running->shared->ices[numbers[i]].role)
			relay_ice_set(&running->relay, slot, &running->shared->ices[numbers[i]]);
		note_timed(running, slot);
		if (watch(running, slot->socket, slot))
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
			open_wire(running, wire, (const int[]){files[i].descriptor, files[i].memory});
		else
			memset(wire, 0, sizeof(*wire));
	}
}

static __u64 due_of(const struct flow_slot *slot)
{
	__u64 staged = slot->stage ? slot->stage->due : ~0ULL, paired = relay_ice_due(slot);

	return staged < paired ? staged : paired;
}

static void tick(struct running *running)
{
	struct flow_slot *slots = running->shared->slots;
	__u64 now = relay_clock();
	bool shake = now >= running->dtls_due;

	if (!running->timed_count || (now < running->due && !shake))
		return;
	running->due = ~0ULL;
	if (shake)
		running->dtls_due = now + DTLS_TICK;
	for (unsigned i = running->timed_count; i--;) {
		struct flow_slot *slot = &slots[running->timed[i]];
		__u64 due;

		if (due_of(slot) <= now || (shake && slot->crypto && slot->crypto->dtls))
			relay_tick(&running->relay, slot);
		due = due_of(slot);
		if (due < running->due)
			running->due = due;
		if (!is_timed(slot))
			running->timed[i] = running->timed[--running->timed_count];
	}
}

/* ms until something is due. */
static int patience(const struct running *running)
{
	__u64 now, due = running->due < running->dtls_due ? running->due : running->dtls_due;

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

/*
 * Voice comes evenly: a worker that woke for each packet would spend as much on waking as on the packet. So
 * where it was woken again before long it waits a moment, for more packets to be there; alone, a packet goes
 * at once.
 */
static void nap(struct running *running, int handled)
{
	__u64 now = relay_clock();
	struct timespec moment = {.tv_nsec = NAP};

	if (handled && now - running->woken < BUSY)
		clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL);
	running->woken = now;
}

/* Whether anything was there; *asked: a command waits. */
static bool move(struct running *running, const struct epoll_event *event, bool *asked)
{
	void *what = event->data.ptr;
	struct wire *wire = wires_find(&running->relay.wires, what);

	if (what == running)
		*asked = true;
	else if (wire && event->events & (EPOLLERR | EPOLLHUP))
		wires_drop(&running->relay.wires, wire);
	else if (wire)
		intake_wire(&running->intake, wire);
	else if (what != &running->intake)
		relay_socket(&running->relay, what);
	return what != running;
}

/* A slot closed by a command may still be among the events at hand, so commands come after packets. */
static _Noreturn void loop(struct running *running)
{
	struct epoll_event events[READY];

	for (;;) {
		bool asked = false, rung = false;
		int most = intake_sleep(&running->intake) ? patience(running) : 0;
		int ready = epoll_wait(running->epoll, events, READY, most), handled = 0;

		__atomic_store_n(&running->page->beat, running->page->beat + 1, __ATOMIC_RELAXED);
		for (int i = 0; i < ready; i++)
			rung |= events[i].data.ptr == &running->intake;
		intake_awake(&running->intake, rung);
		for (int i = 0; i < ready; i++)
			handled += move(running, &events[i], &asked);
		handled += (int)intake_handed(&running->intake);
		tick(running);
		running->behind = !wires_kick(&running->relay.wires);
		if (asked)
			serve(running);
		nap(running, handled);
	}
}

static void send_dtls(void *slot, const __u8 *data, size_t length)
{
	relay_send_dtls(slot, data, length);
}

_Noreturn void worker_run(const struct worker *worker, int channel)
{
	struct running *running = calloc(1, sizeof(*running));

	if (!running)
		_exit(1);
	running->shared = worker->shared;
	running->page = worker->page;
	running->number = worker->number;
	running->channel = channel;
	running->timed = calloc(worker->shared->table->capacity, sizeof(*running->timed));
	running->epoll = epoll_create1(EPOLL_CLOEXEC);
	running->relay.page = worker->page;
	running->relay.place = (struct crypto_place){
		.store = worker->shared->store,
		.vault = worker->shared->vault,
		.identity = worker->shared->identity,
		.slots = worker->shared->slots,
		.send = send_dtls,
	};
	running->intake = (struct intake){
		.exchange = worker->shared->exchange,
		.number = worker->number,
		.relay = &running->relay,
		.slots = worker->shared->slots,
	};
	relay_batch_init(&running->relay.batch);
	prctl(PR_SET_TIMERSLACK, 1);
	if (!running->timed || running->epoll < 0 || watch(running, channel, running) ||
	    watch(running, worker->shared->exchange->bells[worker->number], &running->intake))
		_exit(1);
	resume_flows(running);
	resume_wires(running);
	loop(running);
}
