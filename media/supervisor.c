/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "supervisor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "relay.h"

#define POISON 3 /* workers that die of one flow before it is held */
#define TRIES  3

/* Shared with workers, touched only where it is used, and never in a core dump. */
static void *take_shared(size_t bytes)
{
	void *memory =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		return NULL;
	madvise(memory, bytes, MADV_DONTDUMP);
	return memory;
}

static void give_shared(void *memory, size_t bytes)
{
	if (memory)
		munmap(memory, bytes);
}

static size_t handover_bytes(unsigned workers)
{
	return (size_t)workers * workers * sizeof(struct handover);
}

/* All bells hang before the first worker starts, for each may ring any. */
static int take_exchange(struct engine *engine, unsigned workers)
{
	struct exchange *exchange = &engine->exchange;

	exchange->pages = engine->pages;
	exchange->ports = take_shared(sizeof(*exchange->ports));
	exchange->handovers = take_shared(handover_bytes(workers));
	if (!exchange->ports || !exchange->handovers)
		return -1;
	for (; exchange->workers < workers; exchange->workers++) {
		exchange->bells[exchange->workers] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (exchange->bells[exchange->workers] < 0)
			return -1;
	}
	return 0;
}

static void give_exchange(struct exchange *exchange, unsigned workers)
{
	for (unsigned i = 0; i < exchange->workers; i++)
		close(exchange->bells[i]);
	give_shared(exchange->ports, sizeof(*exchange->ports));
	give_shared(exchange->handovers, handover_bytes(workers));
}

static int take_memory(struct engine *engine, unsigned workers, unsigned flows, const char *history,
		       const char *vault)
{
	engine->workers = calloc(workers, sizeof(*engine->workers));
	engine->shared.wire_files = calloc(workers * ENGINE_WIRES, sizeof(*engine->shared.wire_files));
	engine->pages = take_shared(workers * sizeof(*engine->pages));
	engine->shared.slots = take_shared(flows * sizeof(*engine->shared.slots));
	engine->shared.stages = take_shared(flows * sizeof(*engine->shared.stages));
	engine->shared.ices = take_shared(flows * sizeof(*engine->shared.ices));
	if (table_create(&engine->table, flows))
		return -1;
	if (!engine->workers || !engine->shared.wire_files || !engine->pages || !engine->shared.slots ||
	    !engine->shared.stages || !engine->shared.ices)
		return -1;
	if (history_store_open(&engine->store, history, 2 * flows) ||
	    vault_open(&engine->vault, vault, flows) || take_exchange(engine, workers))
		return -1;
	engine->shared.table = &engine->table;
	engine->shared.store = &engine->store;
	engine->shared.vault = &engine->vault;
	engine->shared.identity = &engine->identity;
	engine->shared.exchange = &engine->exchange;
	engine->watch = epoll_create1(EPOLL_CLOEXEC);
	if (engine->watch < 0)
		return -1;
	if (dtls_identity_create(&engine->identity, &engine->vault.header->identity)) {
		errno = EIO;
		return -1;
	}
	return 0;
}

static void release(struct engine *engine, unsigned workers, unsigned flows)
{
	if (engine->watch >= 0)
		close(engine->watch);
	dtls_identity_destroy(&engine->identity);
	history_store_close(&engine->store);
	vault_close(&engine->vault);
	table_destroy(&engine->table);
	give_exchange(&engine->exchange, workers);
	give_shared(engine->shared.slots, flows * sizeof(*engine->shared.slots));
	give_shared(engine->shared.stages, flows * sizeof(*engine->shared.stages));
	give_shared(engine->shared.ices, flows * sizeof(*engine->shared.ices));
	give_shared(engine->pages, workers * sizeof(*engine->pages));
	free(engine->shared.wire_files);
	free(engine->workers);
	free(engine);
}

static int start(struct engine *engine, struct worker *worker)
{
	struct epoll_event event = {.events = EPOLLIN};

	if (worker_start(worker))
		return -1;
	return epoll_ctl(engine->watch, EPOLL_CTL_ADD, worker->descriptor, &event);
}

static int start_workers(struct engine *engine, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct worker *worker = &engine->workers[i];

		worker->shared = &engine->shared;
		worker->page = &engine->pages[i];
		worker->number = i;
		engine->worker_count++;
		if (start(engine, worker))
			return -1;
	}
	return 0;
}

static void stop_workers(struct engine *engine)
{
	for (unsigned i = 0; i < engine->worker_count; i++)
		worker_stop(&engine->workers[i]);
}

struct engine *engine_create(unsigned workers, unsigned flows, const char *history, const char *vault)
{
	struct engine *engine;
	int error;

	if (!workers || workers > ENGINE_WORKERS || !flows || flows >= TABLE_NONE / 4) {
		errno = EINVAL;
		return NULL;
	}
	engine = calloc(1, sizeof(*engine));
	if (!engine)
		return NULL;
	engine->watch = -1;
	if (!take_memory(engine, workers, flows, history, vault) && !start_workers(engine, workers))
		return engine;
	error = errno;
	stop_workers(engine);
	release(engine, workers, flows);
	errno = error;
	return NULL;
}

void engine_destroy(struct engine *engine)
{
	engine_drop_wires(engine);
	stop_workers(engine);
	for (__u32 slot = 0; slot < engine->table.capacity; slot++)
		if (engine->table.bindings[slot].key.port)
			close(engine->table.bindings[slot].socket);
	release(engine, engine->worker_count, engine->table.capacity);
}

int engine_watch(const struct engine *engine)
{
	return engine->watch;
}

/* A flow whose packets have ended one worker after the other gets no more of them. */
static void blame(struct engine *engine, __u32 number)
{
	struct binding *binding;

	if (number >= engine->table.capacity)
		return;
	binding = &engine->table.bindings[number];
	if (binding->key.port && ++binding->crashes >= POISON)
		engine->table.wanted[number].held = 1;
}

static void tell_restart(struct worker *worker, __u32 number)
{
	struct engine_event event = {.type = ENGINE_EVENT_RESTART, .kind = worker->number};

	if (number < worker->shared->table->capacity)
		event.key = worker->shared->table->bindings[number].key;
	worker_page_tell(worker->page, &event);
}

/* The new process takes over flows and wires; what it is sent meanwhile waits in their sockets. */
static int replace(struct engine *engine, struct worker *worker)
{
	__u32 at_hand = __atomic_load_n(&worker->page->slot, __ATOMIC_RELAXED);

	worker_stop(worker);
	blame(engine, at_hand);
	tell_restart(worker, at_hand);
	engine->restarts++;
	return start(engine, worker);
}

int engine_check(struct engine *engine)
{
	__u64 now = relay_clock();
	int replaced = 0;

	for (unsigned i = 0; i < engine->worker_count; i++) {
		struct worker *worker = &engine->workers[i];

		if (worker_alive(worker, now))
			continue;
		replace(engine, worker);
		replaced++;
	}
	return replaced;
}

unsigned supervisor_idlest(const struct engine *engine)
{
	unsigned best = 0;

	for (unsigned i = 1; i < engine->worker_count; i++)
		if (engine->workers[i].flows < engine->workers[best].flows)
			best = i;
	return best;
}

__u32 supervisor_companion(const struct engine *engine, const struct engine_flow *flow)
{
	struct engine_key below = flow->local;

	below.port--;
	return flow->rtcp == ENGINE_RTCP && below.port ? table_find(&engine->table, &below) : NO_SLOT;
}

static struct worker *owner(struct engine *engine, __u32 number)
{
	return &engine->workers[engine->table.bindings[number].worker];
}

struct worker_page *supervisor_page(struct engine *engine, __u32 number)
{
	return owner(engine, number)->page;
}

static void fill(struct engine *engine, struct command *command, enum command_type type, const __u32 *numbers,
		 unsigned count)
{
	command->type = type;
	command->count = count;
	memcpy(command->slots, numbers, count * sizeof(*numbers));
	for (unsigned i = 0; i < 2 && (type == COMMAND_OPEN || type == COMMAND_CHANGE); i++)
		command->wanted[i] = engine->table.wanted[numbers[i]];
	for (unsigned i = 0; i < 2 && type == COMMAND_OPEN; i++)
		command->companions[i] = supervisor_companion(engine, &command->wanted[i]);
}

/* A worker that is started has read the bindings, so that what they say need not be asked for again. */
static bool done_by_start(enum command_type type)
{
	return type == COMMAND_OPEN || type == COMMAND_CHANGE;
}

int supervisor_tell(struct engine *engine, unsigned number, enum command_type type, const int *files,
		    unsigned count)
{
	struct worker *worker = &engine->workers[number];
	struct command *command = &worker->page->command;

	command->type = type;
	if (worker_ask(worker, files, count)) {
		replace(engine, worker);
		errno = ETIMEDOUT;
		return ENGINE_SYSTEM;
	}
	errno = command->error;
	return command->status;
}

int supervisor_ask(struct engine *engine, enum command_type type, const __u32 *numbers, unsigned count)
{
	struct worker *worker = owner(engine, numbers[0]);
	struct command *command = &worker->page->command;
	const struct binding *bindings = engine->table.bindings;
	int sockets[2];
	unsigned passed = type == COMMAND_OPEN ? 2 : 0;

	for (unsigned i = 0; i < passed; i++)
		sockets[i] = bindings[numbers[i]].socket;
	for (unsigned try = 0; try < TRIES; try++) {
		fill(engine, command, type, numbers, count);
		if (!worker_ask(worker, sockets, passed)) {
			errno = command->error;
			return command->status;
		}
		if (replace(engine, worker))
			return ENGINE_SYSTEM;
		if (done_by_start(type))
			return ENGINE_OK;
	}
	errno = ETIMEDOUT;
	return ENGINE_SYSTEM;
}
