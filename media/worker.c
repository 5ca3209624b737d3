/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "worker.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "relay.h"

#define READY 256 /* sockets looked at between two looks for commands */

static int watch(struct worker *worker, int descriptor, void *what)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = what};

	return epoll_ctl(worker->epoll, EPOLL_CTL_ADD, descriptor, &event);
}

static void forget(struct worker *worker, int descriptor)
{
	epoll_ctl(worker->epoll, EPOLL_CTL_DEL, descriptor, NULL);
}

static void open_pair(struct worker *worker, struct command *command)
{
	struct flow_slot *one = command->slots[0], *other = command->slots[1];

	flow_open(one, &command->wanted[0], command->sockets[0], other);
	flow_open(other, &command->wanted[1], command->sockets[1], one);
	flow_change_pair(one, &command->wanted[0], other, &command->wanted[1]);
	if (!watch(worker, one->socket, one) && !watch(worker, other->socket, other))
		return;
	command->error = errno;
	command->status = ENGINE_SYSTEM;
	forget(worker, one->socket);
}

static void read_slots(const struct command *command)
{
	for (unsigned i = 0; i < command->count; i++)
		flow_report(command->slots[i], &command->reports[i]);
}

static void close_slots(struct worker *worker, const struct command *command)
{
	for (unsigned i = 0; i < command->count; i++)
		forget(worker, command->slots[i]->socket);
	read_slots(command);
}

static void sum(const struct worker *worker, const struct command *command)
{
	for (unsigned i = 0; i < REASONS; i++) {
		command->reasons[i].packets += worker->reasons[i].packets;
		command->reasons[i].bytes += worker->reasons[i].bytes;
	}
}

static void carry_out(struct worker *worker, struct command *command)
{
	switch (command->type) {
	case COMMAND_OPEN:
		open_pair(worker, command);
		break;
	case COMMAND_CHANGE:
		flow_change_pair(command->slots[0], &command->wanted[0], command->slots[1],
				 &command->wanted[1]);
		break;
	case COMMAND_CLOSE:
		close_slots(worker, command);
		break;
	case COMMAND_READ:
		read_slots(command);
		break;
	case COMMAND_SUM:
		sum(worker, command);
		break;
	case COMMAND_STOP:
		break;
	}
}

/* An eventfd holds no wait of ours back: one command is under way at a time. */
static void signal_event(int descriptor)
{
	while (eventfd_write(descriptor, 1) && errno == EINTR)
		;
}

static bool wait_event(int descriptor)
{
	eventfd_t value;
	int failed;

	do {
		failed = eventfd_read(descriptor, &value);
	} while (failed && errno == EINTR);
	return !failed;
}

/* Returns whether to go on. */
static bool serve(struct worker *worker)
{
	struct command *command;
	bool stop;

	if (!wait_event(worker->wake))
		return true;
	command = __atomic_load_n(&worker->posted, __ATOMIC_ACQUIRE);
	stop = command->type == COMMAND_STOP;
	carry_out(worker, command);
	__atomic_store_n(&worker->posted, NULL, __ATOMIC_RELEASE);
	signal_event(worker->done);
	return !stop;
}

/* A slot closed by a command may still be among the events at hand, so commands come after packets. */
static void *run(void *argument)
{
	struct worker *worker = argument;
	struct epoll_event events[READY];
	bool going = true;

	while (going) {
		int ready = epoll_wait(worker->epoll, events, READY, -1);
		bool asked = false;

		for (int i = 0; i < ready; i++) {
			if (events[i].data.ptr == worker)
				asked = true;
			else
				relay_socket(events[i].data.ptr, &worker->batch, worker->reasons);
		}
		if (asked)
			going = serve(worker);
	}
	return NULL;
}

static int start_thread(struct worker *worker)
{
	sigset_t all, before;
	int failed;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	failed = pthread_create(&worker->thread, NULL, run, worker);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = failed;
	return failed ? -1 : 0;
}

static void close_descriptors(const struct worker *worker)
{
	const int descriptors[] = {worker->epoll, worker->wake, worker->done};
	int error = errno;

	for (unsigned i = 0; i < 3; i++)
		if (descriptors[i] >= 0)
			close(descriptors[i]);
	errno = error;
}

int worker_start(struct worker *worker)
{
	relay_batch_init(&worker->batch);
	worker->epoll = epoll_create1(EPOLL_CLOEXEC);
	worker->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	worker->done = eventfd(0, EFD_CLOEXEC);
	if (worker->epoll >= 0 && worker->wake >= 0 && worker->done >= 0 &&
	    !watch(worker, worker->wake, worker) && !start_thread(worker))
		return 0;
	close_descriptors(worker);
	return -1;
}

void worker_stop(struct worker *worker)
{
	struct command stop = {.type = COMMAND_STOP};

	worker_ask(worker, &stop);
	pthread_join(worker->thread, NULL);
	close_descriptors(worker);
}

int worker_ask(struct worker *worker, struct command *command)
{
	__atomic_store_n(&worker->posted, command, __ATOMIC_RELEASE);
	signal_event(worker->wake);
	wait_event(worker->done);
	errno = command->error;
	return command->status;
}
