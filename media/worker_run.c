/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The worker's own side: its sockets and its loop. */
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "fetch.h"
#include "running.h"

#define READY	 256 /* sockets looked at between two looks for commands */
#define TOGETHER 32  /* of them, whose flows are fetched ahead: these and their keys fit a cache */

int worker_watch(const struct running *running, int descriptor, void *what)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = what};

	return epoll_ctl(running->epoll, EPOLL_CTL_ADD, descriptor, &event);
}

/* A command ends it. */
static void nap(struct running *running, unsigned handled)
{
	__u64 moment = nap_take(&running->relay.nap, relay_clock(), handled, timers_due(running));
	struct timespec pause = {.tv_nsec = (long)moment};
	struct pollfd command = {.fd = running->channel, .events = POLLIN};

	if (moment && !running->timed_left)
		ppoll(&command, 1, &pause, NULL);
}

/* The flow whose socket can be read, NULL: it is something else. */
static struct flow_slot *flow_of(const struct running *running, const struct epoll_event *event)
{
	struct flow_slot *slots = running->shared->slots, *slot = event->data.ptr;

	return slot >= slots && slot < slots + running->shared->table->capacity ? slot : NULL;
}

/* As of packets that come by a wire: all are looked at first, each step when the one before has had time. */
static void fetch_flows(const struct running *running, const struct epoll_event *events, int count)
{
	const struct flow_slot *slots[TOGETHER];
	unsigned flows = 0;

	for (int i = 0; i < count; i++) {
		slots[flows] = flow_of(running, &events[i]);
		if (slots[flows])
			flow_fetch(slots[flows++]);
	}
	for (unsigned i = 0; i < flows; i++) {
		flow_fetch_crypto(slots[i]);
		fetch(&slots[i]->partner->socket, sizeof(slots[i]->partner->socket));
	}
	for (unsigned i = 0; i < flows; i++)
		flow_fetch_keys(slots[i]);
}

/* How many packets came, a socket's counted as one; *asked: a command waits. */
static unsigned move(struct running *running, const struct epoll_event *event, bool *asked)
{
	void *what = event->data.ptr;
	struct wire *wire = wires_find(&running->relay.wires, what);

	if (what == running)
		*asked = true;
	else if (wire && event->events & (EPOLLERR | EPOLLHUP))
		wires_drop(&running->relay.wires, wire);
	else if (wire)
		return intake_wire(&running->intake, wire);
	else if (flow_of(running, event))
		relay_socket(&running->relay, what);
	return what != running;
}

/* A slot closed by a command may still be among the events at hand, so commands come after packets. */
static _Noreturn void loop(struct running *running)
{
	struct epoll_event events[READY];

	for (;;) {
		bool asked = false, rung = false;
		int most = intake_sleep(&running->intake) ? timers_patience(running) : 0;
		int ready = epoll_wait(running->epoll, events, READY, most);
		unsigned handled = 0;

		__atomic_store_n(&running->page->beat, running->page->beat + 1, __ATOMIC_RELAXED);
		for (int i = 0; i < ready; i++)
			rung |= events[i].data.ptr == &running->intake;
		intake_awake(&running->intake, rung);
		for (int i = 0; i < ready; i++) {
			if (i % TOGETHER == 0)
				fetch_flows(running, events + i, ready - i < TOGETHER ? ready - i : TOGETHER);
			handled += move(running, &events[i], &asked);
		}
		handled += intake_handed(&running->intake);
		timers_tick(running);
		running->behind = !wires_kick(&running->relay.wires);
		if (asked)
			worker_serve(running);
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
	if (!running->timed || running->epoll < 0 || worker_watch(running, channel, running) ||
	    worker_watch(running, worker->shared->exchange->bells[worker->number], &running->intake))
		_exit(1);
	worker_resume(running);
	loop(running);
}
