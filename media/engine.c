/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The asking side: names to slots, sockets opened and closed, commands to the workers that own the slots. */
#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine_memory.h"
#include "relay.h"
#include "relay_socket.h"
#include "supervisor.h"

#define CLOCK_LIMIT 900000 /* Hz: flow_rule.clock has 32 bits */

/* Neither unspecified nor multicast nor IPv4's reserved and broadcast. */
static bool is_unicast(const __u8 *address)
{
	if (address_is_v4(address))
		return address[12] != 0 && address[12] < 224;
	return !address_is_zero(address) && address[0] != 0xff;
}

static bool good_keys(const struct srtp_keys *keys)
{
	return keys->suite == SRTP_NONE || srtp_master_length(keys->suite);
}

static bool good_dtls(const struct engine_dtls *dtls)
{
	static const __u8 lengths[] = {20, 28, 32, 48, 64};

	if (dtls->role == DTLS_OFF)
		return true;
	return dtls->role <= DTLS_PASSIVE && memchr(lengths, dtls->bytes, sizeof(lengths));
}

static int check_flow(const struct engine_flow *flow)
{
	if (!is_unicast(flow->local.address) || !flow->local.port || !is_unicast(flow->source_address))
		return ENGINE_BAD_FLOW;
	if (!address_is_zero(flow->target_address) && !is_unicast(flow->target_address))
		return ENGINE_BAD_FLOW;
	if ((flow->dscp > 63 && flow->dscp != DSCP_KEEP) || flow->clock_rate > CLOCK_LIMIT)
		return ENGINE_BAD_FLOW;
	if (!good_keys(&flow->open) || !good_keys(&flow->seal) || !good_dtls(&flow->dtls))
		return ENGINE_BAD_FLOW;
	return ENGINE_OK;
}

/* A flow sends from its partner's address: both ends of that way are of one family. */
static bool good_families(const struct engine_flow *flow, const struct engine_flow *partner)
{
	if (address_is_v4(flow->local.address) != address_is_v4(flow->source_address))
		return false;
	return address_is_zero(flow->target_address) ||
	       address_is_v4(flow->target_address) == address_is_v4(partner->local.address);
}

static int open_socket(const struct engine_key *key, int bound, int *descriptor)
{
	if (bound < 0)
		return relay_socket_open(key, descriptor);
	*descriptor = fcntl(bound, F_DUPFD_CLOEXEC, 0);
	return *descriptor < 0 ? ENGINE_NO_FILES : ENGINE_OK;
}

static int open_sockets(const struct engine_flow *pair, const int *bound, int *sockets, unsigned *culprit)
{
	int status;

	for (*culprit = 0; *culprit < 2; ++*culprit) {
		status = open_socket(&pair[*culprit].local, bound ? bound[*culprit] : -1, &sockets[*culprit]);
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
	__u32 companion = supervisor_companion(engine, &pair[0]);
	unsigned worker =
		companion == NO_SLOT ? supervisor_idlest(engine) : engine->table.bindings[companion].worker;

	for (unsigned i = 0; i < 2; i++)
		numbers[i] = table_add(&engine->table, &pair[i].local);
	for (unsigned i = 0; i < 2; i++) {
		struct binding *binding = &engine->table.bindings[numbers[i]];

		binding->partner = numbers[!i];
		binding->socket = sockets[i];
		binding->worker = worker;
		engine->table.wanted[numbers[i]] = pair[i];
		memset(&engine->shared.slots[numbers[i]], 0, sizeof(struct flow_slot));
	}
	engine->workers[worker].flows += 2;
}

static void unbind_pair(struct engine *engine, const __u32 *numbers)
{
	engine->workers[engine->table.bindings[numbers[0]].worker].flows -= 2;
	for (unsigned i = 0; i < 2; i++) {
		close(engine->table.bindings[numbers[i]].socket);
		if (engine->table.wanted[numbers[i]].dtls.role)
			vault_forget(&engine->vault, &engine->table.bindings[numbers[i]].key);
		OPENSSL_cleanse(&engine->shared.slots[numbers[i]], sizeof(struct flow_slot));
		OPENSSL_cleanse(&engine->table.wanted[numbers[i]], sizeof(struct engine_flow));
		engine->shared.stages[numbers[i]].type = 0;
		if (engine->shared.ices[numbers[i]].role)
			OPENSSL_cleanse(&engine->shared.ices[numbers[i]], sizeof(struct engine_ice));
		table_remove(&engine->table, numbers[i]);
	}
}

/* Wires lead to them from now on. */
static void publish(struct engine *engine, const __u32 *numbers)
{
	for (unsigned i = 0; i < 2; i++) {
		const struct binding *binding = &engine->table.bindings[numbers[i]];

		ports_set(engine->exchange.ports, &binding->key,
			  (struct port_owner){.slot = numbers[i], .worker = binding->worker});
	}
}

static int open_pair(struct engine *engine, const struct engine_flow *pair, const int *bound,
		     unsigned *culprit)
{
	__u32 numbers[2];
	int sockets[2], status, error;

	*culprit = 0;
	if (engine->table.used + 2 > engine->table.capacity)
		return ENGINE_FULL;
	status = open_sockets(pair, bound, sockets, culprit);
	if (status != ENGINE_OK)
		return status;
	bind_pair(engine, pair, sockets, numbers);
	status = supervisor_ask(engine, COMMAND_OPEN, numbers, 2);
	error = errno;
	if (status != ENGINE_OK)
		unbind_pair(engine, numbers);
	else
		publish(engine, numbers);
	errno = error;
	return status;
}

static int change_pair(struct engine *engine, const struct engine_flow *pair, const __u32 *numbers)
{
	for (unsigned i = 0; i < 2; i++)
		engine->table.wanted[numbers[i]] = pair[i];
	return supervisor_ask(engine, COMMAND_CHANGE, numbers, 2);
}

static bool same_key(const struct engine_key *one, const struct engine_key *other)
{
	return one->port == other->port && !memcmp(one->address, other->address, sizeof(one->address));
}

int engine_set_pair(struct engine *engine, const struct engine_flow *pair, const int *bound,
		    unsigned *culprit)
{
	__u32 numbers[2];

	for (*culprit = 0; *culprit < 2; ++*culprit) {
		const struct engine_flow *flow = &pair[*culprit];

		if (check_flow(flow) != ENGINE_OK || !good_families(flow, &pair[!*culprit]))
			return ENGINE_BAD_FLOW;
		numbers[*culprit] = table_find(&engine->table, &flow->local);
	}
	*culprit = numbers[0] == TABLE_NONE;
	if (numbers[0] == TABLE_NONE && numbers[1] == TABLE_NONE) {
		if (same_key(&pair[0].local, &pair[1].local))
			return ENGINE_BAD_PAIR;
		return open_pair(engine, pair, bound, culprit);
	}
	if (numbers[0] == TABLE_NONE || engine->table.bindings[numbers[0]].partner != numbers[1])
		return ENGINE_BAD_PAIR;
	return change_pair(engine, pair, numbers);
}

int engine_bind(const struct engine_key *key, int *descriptor)
{
	if (!is_unicast(key->address) || !key->port)
		return ENGINE_BAD_FLOW;
	return relay_socket_open(key, descriptor);
}

int engine_worker(const struct engine *engine, const struct engine_key *key)
{
	__u32 number = table_find(&engine->table, key);

	return number == TABLE_NONE ? ENGINE_UNKNOWN : (int)engine->table.bindings[number].worker;
}

int engine_remove(struct engine *engine, const struct engine_key *key, struct engine_report *reports)
{
	__u32 numbers[2];

	numbers[0] = table_find(&engine->table, key);
	if (numbers[0] == TABLE_NONE)
		return ENGINE_UNKNOWN;
	numbers[1] = engine->table.bindings[numbers[0]].partner;
	supervisor_ask(engine, COMMAND_CLOSE, numbers, 2);
	for (unsigned i = 0; i < 2; i++) /* of a worker that died over it, and could not be replaced */
		ports_clear(engine->exchange.ports, &engine->table.bindings[numbers[i]].key);
	memcpy(reports, supervisor_page(engine, numbers[0])->command.reports, 2 * sizeof(*reports));
	unbind_pair(engine, numbers);
	return ENGINE_OK;
}

/* Reports on flows that one worker owns: as many of `keys`, from *next on, as follow each other. */
static unsigned read_run(struct engine *engine, const struct engine_key *keys, unsigned count, unsigned *next,
			 struct engine_report *reports)
{
	const struct binding *bindings = engine->table.bindings;
	__u32 numbers[ASK_AT_ONCE];
	unsigned found = 0;

	for (; *next < count && found < ASK_AT_ONCE; ++*next) {
		__u32 number = table_find(&engine->table, &keys[*next]);

		if (number == TABLE_NONE)
			continue;
		if (found && bindings[number].worker != bindings[numbers[0]].worker)
			break;
		numbers[found++] = number;
	}
	if (!found)
		return 0;
	supervisor_ask(engine, COMMAND_READ, numbers, found);
	memcpy(reports, supervisor_page(engine, numbers[0])->command.reports, found * sizeof(*reports));
	return found;
}

int engine_read(struct engine *engine, const struct engine_key *keys, unsigned count,
		struct engine_report *reports)
{
	unsigned next = 0, found = 0;

	while (next < count)
		found += read_run(engine, keys, count, &next, reports + found);
	return (int)found;
}

int engine_set_stage(struct engine *engine, const struct engine_key *key, const struct engine_stage *stage)
{
	__u32 number = table_find(&engine->table, key);
	int status;

	if (number == TABLE_NONE)
		return ENGINE_UNKNOWN;
	supervisor_page(engine, number)->command.stage = *stage;
	status = supervisor_ask(engine, COMMAND_STAGE, &number, 1);
	if (status == ENGINE_OK)
		engine->shared.stages[number] = *stage;
	return status;
}

static bool is_text(const char *text)
{
	return text[0] && memchr(text, 0, ENGINE_ICE_TEXT);
}

static bool good_ice(const struct engine_ice *ice)
{
	if (ice->role > ICE_CONTROLLING || ice->candidate_count > ENGINE_CANDIDATES)
		return false;
	if (!is_text(ice->own_name) || !is_text(ice->own_password) || !is_text(ice->peer_name) ||
	    !is_text(ice->peer_password))
		return false;
	if (ice->selected.port && !is_unicast(ice->selected.address))
		return false;
	for (unsigned i = 0; i < ice->candidate_count; i++)
		if (!is_unicast(ice->candidates[i].address) || !ice->candidates[i].port)
			return false;
	return true;
}

int engine_set_ice(struct engine *engine, const struct engine_key *key, const struct engine_ice *ice)
{
	__u32 number = table_find(&engine->table, key);
	int status;

	if (number == TABLE_NONE)
		return ENGINE_UNKNOWN;
	if (ice->role && !good_ice(ice))
		return ENGINE_BAD_FLOW;
	supervisor_page(engine, number)->command.ice = *ice;
	status = supervisor_ask(engine, COMMAND_ICE, &number, 1);
	OPENSSL_cleanse(&supervisor_page(engine, number)->command.ice, sizeof(*ice));
	if (status == ENGINE_OK)
		engine->shared.ices[number] = *ice;
	return status;
}

int engine_wanted_ice(const struct engine *engine, const struct engine_key *key, struct engine_ice *ice)
{
	__u32 number = table_find(&engine->table, key);

	if (number == TABLE_NONE || !engine->table.wanted[number].ice ||
	    engine->shared.ices[number].role == ICE_OFF)
		return ENGINE_UNKNOWN;
	*ice = engine->shared.ices[number];
	return ENGINE_OK;
}

int engine_read_stage(struct engine *engine, const struct engine_key *key, __u8 *report)
{
	__u32 number = table_find(&engine->table, key);
	const struct engine_stage *stage;

	if (number == TABLE_NONE || supervisor_ask(engine, COMMAND_STAGE_READ, &number, 1) != ENGINE_OK)
		return 0;
	stage = &supervisor_page(engine, number)->command.stage;
	memcpy(report, stage->settings, stage->length);
	return (int)stage->length;
}

int engine_wanted(const struct engine *engine, const struct engine_key *key, struct engine_flow *flow)
{
	__u32 number = table_find(&engine->table, key);

	if (number == TABLE_NONE)
		return ENGINE_UNKNOWN;
	*flow = engine->table.wanted[number];
	return ENGINE_OK;
}

int engine_partner(const struct engine *engine, const struct engine_key *key, struct engine_key *partner)
{
	__u32 number = table_find(&engine->table, key);

	if (number == TABLE_NONE)
		return ENGINE_UNKNOWN;
	*partner = engine->table.bindings[engine->table.bindings[number].partner].key;
	return ENGINE_OK;
}

int engine_list(struct engine *engine, unsigned *cursor, struct engine_key *keys, unsigned room)
{
	unsigned found = 0;

	for (; *cursor < engine->table.capacity && found < room; ++*cursor)
		if (engine->table.bindings[*cursor].key.port)
			keys[found++] = engine->table.bindings[*cursor].key;
	return (int)found;
}

unsigned engine_flows(const struct engine *engine)
{
	return engine->table.used;
}

int engine_sum(struct engine *engine, struct engine_summary *summary)
{
	memset(summary, 0, sizeof(*summary));
	summary->workers = engine->worker_count;
	summary->flows = engine->table.used;
	summary->capacity = engine->table.capacity;
	summary->restarts = engine->restarts;
	for (unsigned i = 0; i < engine->worker_count; i++)
		for (unsigned reason = 0; reason < REASONS; reason++) {
			const struct reason_count *count = &engine->workers[i].page->reasons[reason];

			summary->reasons[reason].packets += count->packets;
			summary->reasons[reason].bytes += count->bytes;
		}
	return ENGINE_OK;
}

int engine_take_event(struct engine *engine, struct engine_event *event)
{
	for (unsigned i = 0; i < engine->worker_count; i++)
		if (worker_page_take(engine->workers[i].page, event))
			return 1;
	return 0;
}

void engine_fingerprint(const struct engine *engine, __u8 *hash)
{
	memcpy(hash, engine->identity.hash, ENGINE_OWN_HASH);
}

int engine_processes(const struct engine *engine, int *processes)
{
	for (unsigned i = 0; i < engine->worker_count; i++)
		processes[i] = engine->workers[i].process;
	return (int)engine->worker_count;
}

int engine_harden(void)
{
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return ENGINE_SYSTEM;
	return ENGINE_OK;
}

int engine_keep_capabilities(__u64 kept)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, data))
		return -1;
	for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; i++, kept >>= 32) {
		data[i].permitted &= (__u32)kept;
		data[i].effective = data[i].permitted;
		data[i].inheritable = 0;
	}
	return (int)syscall(SYS_capset, &header, data);
}
