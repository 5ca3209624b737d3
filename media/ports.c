/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ports.h"

#include <string.h>

#define WORKER_SHIFT 24
#define SLOT_MASK    0xffffffU /* slot and 1: the engine has a million at most */

static __u32 address_place(const struct ports *ports, const __u8 address[16])
{
	__u32 count = __atomic_load_n(&ports->count, __ATOMIC_ACQUIRE), place = 0;

	while (place < count && memcmp(ports->addresses[place], address, 16))
		place++;
	return place;
}

void ports_set(struct ports *ports, const struct engine_key *key, struct port_owner owner)
{
	__u32 place = address_place(ports, key->address);

	if (place >= RELAY_ADDRESSES)
		return;
	if (place == ports->count) {
		memcpy(ports->addresses[place], key->address, 16);
		__atomic_store_n(&ports->count, place + 1, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&ports->owners[place * FLOWS_PER_ADDRESS + key->port],
			 owner.worker << WORKER_SHIFT | (owner.slot + 1), __ATOMIC_RELEASE);
}

void ports_clear(struct ports *ports, const struct engine_key *key)
{
	__u32 place = address_place(ports, key->address);

	if (place < ports->count)
		__atomic_store_n(&ports->owners[place * FLOWS_PER_ADDRESS + key->port], 0, __ATOMIC_RELEASE);
}

bool ports_find(const struct ports *ports, const __u8 address[16], __u16 port, struct port_owner *owner)
{
	__u32 place = address_place(ports, address), word;

	if (place >= ports->count)
		return false;
	word = __atomic_load_n(&ports->owners[place * FLOWS_PER_ADDRESS + port], __ATOMIC_ACQUIRE);
	*owner = (struct port_owner){.slot = (word & SLOT_MASK) - 1, .worker = word >> WORKER_SHIFT};
	return word;
}
