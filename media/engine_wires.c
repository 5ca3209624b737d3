/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The asking side of wires: opened, given to workers, and entered in the kernel relay's maps. */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
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

unsigned engine_queues(const char *interface)
{
	struct ethtool_channels found = {.cmd = ETHTOOL_GCHANNELS};
	struct ifreq request = {.ifr_data = (void *)&found};
	int asking = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), failed;

	if (asking < 0)
		return 1;
	strncpy(request.ifr_name, interface, sizeof(request.ifr_name) - 1);
	failed = ioctl(asking, SIOCETHTOOL, &request);
	close(asking);
	return failed || !(found.rx_count + found.combined_count) ? 1 : found.rx_count + found.combined_count;
}

int engine_open_wire(__u32 ifindex, __u32 queue, unsigned seats, int first, int memory, int *zero_copy)
{
	return xsk_open(ifindex, queue, seats, first, memory, zero_copy);
}

__u32 engine_wire_memory(unsigned seats)
{
	return (__u32)xsk_bytes(seats);
}

/* The socket first: no packet is to be led to a place where there is none, or another's. */
static int enter(const struct engine_wire *wire, int descriptor, const struct engine_wire_place *place)
{
	struct wire_key key = {.ifindex = wire->ifindex, .queue = wire->queue};
	__u32 own = place->seats ? place->seats - 1 + wire->worker : place->place;
	__u32 value = (__u32)descriptor, queue = WIRE_VALUE(place->place, place->seats);

	if (put(place->wires, &own, &value) || (!wire->seat && put(place->queues, &key, &queue)))
		return ENGINE_SYSTEM;
	return ENGINE_OK;
}

static struct wire_files *files_of(struct engine *engine, unsigned worker, unsigned place)
{
	return &engine->shared.wire_files[worker * ENGINE_WIRES + place];
}

static void close_files(struct wire_files *files)
{
	if (!files->open)
		return;
	close(files->descriptor);
	close(files->memory);
	files->open = false;
}

/* A place that the worker does not use, nor will take over from its predecessor. */
static int free_place(struct engine *engine, unsigned worker)
{
	for (int i = 0; i < ENGINE_WIRES; i++)
		if (!engine->pages[worker].wires[i].ifindex) {
			close_files(files_of(engine, worker, (unsigned)i));
			return i;
		}
	return -1;
}

static bool keep_files(struct wire_files *files, int descriptor, int memory)
{
	*files = (struct wire_files){
		.descriptor = fcntl(descriptor, F_DUPFD_CLOEXEC, 0),
		.memory = fcntl(memory, F_DUPFD_CLOEXEC, 0),
	};
	files->open = files->descriptor >= 0 && files->memory >= 0;
	return files->open;
}

int engine_add_wire(struct engine *engine, const struct engine_wire *wire, int descriptor, int memory,
		    const struct engine_wire_place *place)
{
	int files[2] = {descriptor, memory}, free, status;

	if (wire->worker >= engine->worker_count || !wire->ifindex)
		return ENGINE_BAD_FLOW;
	free = free_place(engine, wire->worker);
	if (free < 0)
		return ENGINE_FULL;
	if (!keep_files(files_of(engine, wire->worker, (unsigned)free), descriptor, memory))
		return ENGINE_SYSTEM;
	engine->pages[wire->worker].command.wire = *wire;
	engine->pages[wire->worker].command.slots[0] = (__u32)free;
	status = supervisor_tell(engine, wire->worker, COMMAND_WIRE, files, 2);
	if (status == ENGINE_OK)
		status = enter(wire, descriptor, place);
	else
		close_files(files_of(engine, wire->worker, (unsigned)free));
	return status;
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
		for (unsigned i = 0; i < ENGINE_WIRES; i++)
			if (!all[i].ifindex)
				close_files(files_of(engine, worker, i));
			else if (found < room)
				wires[found++] = all[i];
	}
	return (int)found;
}

void engine_drop_wires(struct engine *engine)
{
	for (unsigned worker = 0; worker < engine->worker_count; worker++) {
		supervisor_tell(engine, worker, COMMAND_UNWIRE, NULL, 0);
		memset(engine->pages[worker].wires, 0, sizeof(engine->pages[worker].wires));
		for (unsigned i = 0; i < ENGINE_WIRES; i++)
			close_files(files_of(engine, worker, i));
	}
}
