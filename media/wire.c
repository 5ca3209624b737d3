/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "wire.h"

#include <string.h>
#include <unistd.h>

#include "frame.h"

int wires_add(struct wires *wires, struct engine_wire *page, int descriptor, int memory)
{
	struct wire *wire = &wires->wires[wires->count];
	int failed = xsk_attach(&wire->xsk, descriptor, memory, page->seats, page->seat);

	close(memory);
	if (failed) {
		close(descriptor);
		return -1;
	}
	wire->page = page;
	wires->count++;
	return 0;
}

struct wire *wires_find(struct wires *wires, const void *what)
{
	for (unsigned i = 0; i < wires->count; i++)
		if (wires->wires[i].page == what)
			return &wires->wires[i];
	return NULL;
}

void wires_drop(struct wires *wires, struct wire *wire)
{
	int descriptor = wire->xsk.descriptor;

	memset(wire->page, 0, sizeof(*wire->page));
	xsk_detach(&wire->xsk);
	close(descriptor);
	*wire = wires->wires[--wires->count];
}

void wires_drop_all(struct wires *wires)
{
	while (wires->count)
		wires_drop(wires, &wires->wires[wires->count - 1]);
}

/* A worker may have several on an interface, when it has more queues than there are workers: the first will
 * do.
 */
static struct wire *leading_to(struct wires *wires, const struct engine_hop *hop)
{
	for (unsigned i = 0; hop->ifindex && i < wires->count; i++)
		if (wires->wires[i].page->ifindex == hop->ifindex)
			return &wires->wires[i];
	return NULL;
}

/* Longer ones the host's stack takes to pieces. */
static bool fits(const struct wire *wire, bool v6, size_t length)
{
	return length + (v6 ? 40 : 20) + 8 <= wire->page->mtu && length + FRAME_HEAD <= XSK_FRAME;
}

/* The next hop is that to the flow's target; where ICE or latching has found another, it need not be right.
 */
static bool is_known(const struct flow_slot *slot)
{
	__u8 target[16];

	if (!slot->partner->wanted.ice && !slot->partner->wanted.latch)
		return true;
	address_from_socket(&slot->target, target);
	return !memcmp(target, slot->wanted.target_address, sizeof(target));
}

bool wires_send(struct wires *wires, const struct flow_slot *slot, const __u8 *data, size_t length, __u8 ttl,
		__u8 tos)
{
	const struct engine_key *egress = &slot->partner->wanted.local;
	struct frame_head head = {
		.hop = &slot->wanted.hop,
		.source_address = egress->address,
		.target = &slot->target,
		.source_port = egress->port,
		.ttl = ttl,
		.tos = tos,
	};
	struct wire *wire = leading_to(wires, head.hop);
	__u8 *room;

	if (!wire || !is_known(slot) || !fits(wire, slot->target.any.sa_family == AF_INET6, length))
		return false;
	room = xsk_room(&wire->xsk);
	if (!room)
		return false;
	head.identity = ++wires->identity;
	xsk_put(&wire->xsk, frame_write(room, &head, data, length));
	wire->page->sent++;
	return true;
}

bool wires_kick(struct wires *wires)
{
	bool done = true;

	for (unsigned i = 0; i < wires->count; i++)
		done = xsk_kick(&wires->wires[i].xsk) && done;
	return done;
}

void wires_count_dropped(const struct wires *wires)
{
	for (unsigned i = 0; i < wires->count; i++)
		wires->wires[i].page->dropped = xsk_dropped(&wires->wires[i].xsk);
}
