/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Whose packets are those to a relay address and port? Memory shared by the engine's first process, which
 * alone adds to it, and all workers, which take out what they close. Indexed as the kernel relay's flows are:
 * see bpf/flow.h.
 */
#ifndef VOXDP_PORTS_H
#define VOXDP_PORTS_H

#include <stdbool.h>

#include "engine.h"

struct ports {
	__u32 count;
	__u8 addresses[RELAY_ADDRESSES]
		      [16]; /* in the order in which flows first had them; never taken back */
	__u32 owners[RELAY_ADDRESSES * FLOWS_PER_ADDRESS]; /* worker and slot, 0: nobody */
};

struct port_owner {
	__u32 slot;
	unsigned worker;
};

/* Does nothing for an address beyond the first RELAY_ADDRESSES: its packets come by sockets. */
void ports_set(struct ports *ports, const struct engine_key *key, struct port_owner owner);
void ports_clear(struct ports *ports, const struct engine_key *key);

/* false: it is nobody's. */
bool ports_find(const struct ports *ports, const __u8 address[16], __u16 port, struct port_owner *owner);

#endif
