/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The asking side: names to slots, sockets opened and closed, commands to the workers that own the slots. */
#include "engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "relay_socket.h"
#include "table.h"
#include "worker.h"

#define READ_AT_ONCE 64	    /* reports between which a worker gets back to its packets */
#define CLOCK_LIMIT  900000 /* Hz: flow_rule.clock has 32 bits */

struct engine {
	struct table table;
	struct flow_slot *slots;
	struct worker *workers;
	unsigned worker_count;
};

static void release(struct engine *engine)
{
	table_destroy(&engine->table);
	free(engine->slots);
	free(engine->workers);
	free(engine);
}

static int take_memory(struct engine *engine, unsigned workers, unsigned flows)
{
	engine->workers = calloc(workers, sizeof(*engine->workers));
	engine->slots = aligned_alloc(_Alignof(struct flow_slot), flows * sizeof(*engine->slots));
	if (table_create(&engine->table, flows))
		return -1;
	return engine->workers && engine->slots ? 0 : -1;
}

static int start_workers(struct engine *engine, unsigned count)
{
	for (; engine->worker_count < count; engine->worker_count++)
		if (worker_start(&engine->workers[engine->worker_count]))
			return -1;
	return 0;
}

static void stop_workers(struct engine *engine)
{
	while (engine->worker_count)
		worker_stop(&engine->workers[--engine->worker_count]);
}

struct engine *engine_create(unsigned workers, unsigned flows)
{
	struct engine *engine = NULL;
	int error;

	if (!workers || workers > ENGINE_WORKERS || !flows || flows >= TABLE_NONE / 4) {
		errno = EINVAL;
		return NULL;
	}
	engine = calloc(1, sizeof(*engine));
	if (!engine)
		return NULL;
	if (!take_memory(engine, workers, flows) && !start_workers(engine, workers))
		return engine;
	error = errno;
	stop_workers(engine);
	release(engine);
	errno = error;
	return NULL;
}

void engine_destroy(struct engine *engine)
{
	stop_workers(engine);
	for (__u32 slot = 0; slot < engine->table.capacity; slot++)
		if (engine->table.bindings[slot].key.port)
			close(engine->table.bindings[slot].socket);
	release(engine);
}

/* Neither 0/8 nor multicast, reserved or broadcast. */
static int is_unicast(__be32 address)
{
	__u8 first = ntohl(address) >> 24;

	return first != 0 && first < 224;
}

static int check_flow(const struct engine_flow *flow)
{
	if (!is_unicast(flow->local.address) || !flow->local.port || !is_unicast(flow->source_address))
		return ENGINE_BAD_FLOW;
	if (flow->target_address && !is_unicast(flow->target_address))
		return ENGINE_BAD_FLOW;
	if ((flow->dscp > 63 && flow->dscp != DSCP_KEEP) || flow->clock_rate > CLOCK_LIMIT)
		return ENGINE_BAD_FLOW;
	return ENGINE_OK;
}

static unsigned idlest(const struct engine *engine)
{
	unsigned best = 0;

	for (unsigned i = 1; i < engine->worker_count; i++)
		if (engine->workers[i].flows < engine->workers[best].flows)
			best = i;
	return best;
}

static int ask(struct engine *engine, const __u32 *numbers, struct command *command)
{
	struct flow_slot *slots[READ_AT_ONCE];

	for (unsigned i = 0; i < command->count; i++)
		slots[i] = &engine->slots[numbers[i]];
	command->slots = slots;
	return worker_ask(&engine->workers[engine->table.bindings[numbers[0]].worker], command);
}

static int open_sockets(const struct engine_flow *pair, int *sockets, unsigned *culprit)
{
	int status;

	for (*culprit = 0; *culprit < 2; ++*culprit) {
		status = relay_socket_open(&pair[*culprit].local, &sockets[*culprit]);
		if (status != ENGINE_OK && *culprit)
			close(sockets[0]);
		if (status != ENGINE_OK)
			return status;
	}
	return ENGINE_OK;
}

static void bind_pair(struct engine *engine, const struct engine_flow *pair, const int *sockets,
		      __u32 *numbers)
{
	unsigned worker = idlest(engine);

	for (unsigned i = 0; i < 2; i++)
		numbers[i] = table_add(&engine->table, &pair[i].local);
	for (unsigned i = 0; i < 2; i++) {
		struct binding *binding = &engine->table.bindings[numbers[i]];

		binding->partner = numbers[!i];
		binding->socket = sockets[i];
		binding->worker = worker;
	}
	engine->workers[worker].flows += 2;
}

static void unbind_pair(struct engine *engine, const __u32 *numbers)
{
	engine->workers[engine->table.bindings[numbers[0]].worker].flows -= 2;
	for (unsigned i = 0; i < 2; i++) {
		close(engine->table.bindings[numbers[i]].socket);
		table_remove(&engine->table, numbers[i]);
	}
}

static int open_pair(struct engine *engine, const struct engine_flow *pair, unsigned *culprit)
{
	struct command command = {.type = COMMAND_OPEN, .count = 2, .wanted = pair};
	__u32 numbers[2];
	int sockets[2], status, error;

	*culprit = 0;
	if (engine->table.used + 2 > engine->table.capacity)
		return ENGINE_FULL;
	status = open_sockets(pair, sockets, culprit);
	if (status != ENGINE_OK)
		return status;
	bind_pair(engine, pair, sockets, numbers);
	command.sockets = sockets;
	status = ask(engine, numbers, &command);
	error = errno;
	if (status != ENGINE_OK)
		unbind_pair(engine, numbers);
	errno = error;
	return status;
}

int engine_set_pair(struct engine *engine, const struct engine_flow *pair, unsigned *culprit)
{
	struct command change = {.type = COMMAND_CHANGE, .count = 2, .wanted = pair};
	__u32 numbers[2];
	int status;

	for (*culprit = 0; *culprit < 2; ++*culprit) {
		status = check_flow(&pair[*culprit]);
		if (status != ENGINE_OK)
			return status;
		numbers[*culprit] = table_find(&engine->table, &pair[*culprit].local);
	}
	*culprit = numbers[0] == TABLE_NONE;
	if (numbers[0] == TABLE_NONE && numbers[1] == TABLE_NONE) {
		if (pair[0].local.address == pair[1].local.address &&
		    pair[0].local.port == pair[1].local.port)
			return ENGINE_BAD_PAIR;
		return open_pair(engine, pair, culprit);
	}
	if (numbers[0] == TABLE_NONE || engine->table.bindings[numbers[0]].partner != numbers[1])
		return ENGINE_BAD_PAIR;
	return ask(engine, numbers, &change);
}

int engine_remove(struct engine *engine, const struct engine_key *key, struct engine_report *reports)
{
	struct command command = {.type = COMMAND_CLOSE, .count = 2, .reports = reports};
	__u32 numbers[2];

	numbers[0] = table_find(&engine->table, key);
	if (numbers[0] == TABLE_NONE)
		return ENGINE_UNKNOWN;
	numbers[1] = engine->table.bindings[numbers[0]].partner;
	ask(engine, numbers, &command);
	unbind_pair(engine, numbers);
	return ENGINE_OK;
}

/* Reports on flows that one worker owns: as many of `keys`, from *next on, as follow each other. */
static unsigned read_run(struct engine *engine, const struct engine_key *keys, unsigned count, unsigned *next,
			 struct engine_report *reports)
{
	struct command command = {.type = COMMAND_READ, .reports = reports};
	struct binding *bindings = engine->table.bindings;
	__u32 numbers[READ_AT_ONCE];

	for (; *next < count && command.count < READ_AT_ONCE; ++*next) {
		__u32 number = table_find(&engine->table, &keys[*next]);

		if (number == TABLE_NONE)
			continue;
		if (command.count && bindings[number].worker != bindings[numbers[0]].worker)
			break;
		numbers[command.count++] = number;
	}
	if (command.count)
		ask(engine, numbers, &command);
	return command.count;
}

int engine_read(struct engine *engine, const struct engine_key *keys, unsigned count,
		struct engine_report *reports)
{
	unsigned next = 0, found = 0;

	while (next < count)
		found += read_run(engine, keys, count, &next, reports + found);
	return (int)found;
}

int engine_list(struct engine *engine, unsigned *cursor, struct engine_key *keys, unsigned room)
{
	unsigned found = 0;

	for (; *cursor < engine->table.capacity && found < room; ++*cursor)
		if (engine->table.bindings[*cursor].key.port)
			keys[found++] = engine->table.bindings[*cursor].key;
	return (int)found;
}

int engine_sum(struct engine *engine, struct engine_summary *summary)
{
	struct command command = {.type = COMMAND_SUM, .reasons = summary->reasons};

	memset(summary, 0, sizeof(*summary));
	summary->workers = engine->worker_count;
	summary->flows = engine->table.used;
	summary->capacity = engine->table.capacity;
	for (unsigned i = 0; i < engine->worker_count; i++)
		worker_ask(&engine->workers[i], &command);
	return ENGINE_OK;
}

int engine_harden(void)
{
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return ENGINE_SYSTEM;
	return ENGINE_OK;
}
