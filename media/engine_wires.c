/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The asking side of wires: opened, given to workers, and entered in the kernel relay's maps. */
#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine_memory.h"
#include "supervisor.h"
#include "xsk.h"

static int bpf(enum bpf_cmd command, union bpf_attr *attributes)
{
	return (int)syscall(SYS_bpf, command, attributes, sizeof(*attributes));
}

static __u64 address_of(const void *thing)
{
	return (__u64)(unsigned long)thing;
}

static int put(int map, const void *key, const void *value)
{
	union bpf_attr attributes = {0};

	attributes.map_fd = (__u32)map;
	attributes.key = address_of(key);
	attributes.value = address_of(value);
	return bpf(BPF_MAP_UPDATE_ELEM, &attributes);
}

int engine_open_map(const char *path)
{
	union bpf_attr attributes = {0};
	int map;

	attributes.pathname = address_of(path);
	map = bpf(BPF_OBJ_GET, &attributes);
	return map < 0 ? -errno : map;
}

void engine_clear_queues(int queues)
{
	union bpf_attr attributes = {0};
	struct wire_key key;

	attributes.map_fd = (__u32)queues;
	attributes.next_key = address_of(&key);
	while (!bpf(BPF_MAP_GET_NEXT_KEY, &attributes)) {
		union bpf_attr gone = {0};

		gone.map_fd = (__u32)queues;
		gone.key = address_of(&key);
		bpf(BPF_MAP_DELETE_ELEM, &gone);
	}
}

int engine_open_wire(__u32 ifindex, __u32 queue, int memory, int *zero_copy)
{
	return xsk_open(ifindex, queue, memory, zero_copy);
}

__u32 engine_wire_memory(void)
{
	return XSK_MEMORY;
}

/* The socket first: no packet is to be led to a place where there is none, or another's. */
static int enter(const struct engine_wire *wire, int descriptor, int wires, int queues, __u32 place)
{
	struct wire_key key = {.ifindex = wire->ifindex, .queue = wire->queue};
	__u32 value = (__u32)descriptor;

	return put(wires, &place, &value) || put(queues, &key, &place) ? ENGINE_SYSTEM : ENGINE_OK;
}

int engine_add_wire(struct engine *engine, const struct engine_wire *wire, int descriptor, int memory,
		    int wires, int queues, __u32 place)
{
	int files[2] = {descriptor, memory}, status;

	if (wire->worker >= engine->worker_count || !wire->ifindex)
		return ENGINE_BAD_FLOW;
	engine->pages[wire->worker].command.wire = *wire;
	status = supervisor_tell(engine, wire->worker, COMMAND_WIRE, files, 2);
	return status == ENGINE_OK ? enter(wire, descriptor, wires, queues, place) : status;
}

int engine_wires(struct engine *engine, struct engine_wire *wires, unsigned room)
{
	unsigned found = 0;

	for (unsigned worker = 0; worker < engine->worker_count; worker++) {
		const struct engine_wire *all = engine->pages[worker].wires;
		bool any = false;

		for (unsigned i = 0; i < ENGINE_WIRES; i++)
			any |= all[i].ifindex != 0;
		if (any)
			supervisor_tell(engine, worker, COMMAND_WIRES_READ, NULL, 0);
		for (unsigned i = 0; i < ENGINE_WIRES && found < room; i++)
			if (all[i].ifindex)
				wires[found++] = all[i];
	}
	return (int)found;
}

void engine_drop_wires(struct engine *engine)
{
	for (unsigned worker = 0; worker < engine->worker_count; worker++)
		supervisor_tell(engine, worker, COMMAND_UNWIRE, NULL, 0);
}
