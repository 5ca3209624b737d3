/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "relay_copies.h"

#include <sys/socket.h>

/*
 * From the flow's own socket, which is the source of the flow that it reaches. No stranger can send as that:
 * the host takes nothing from outside that bears an address of its own.
 */
void relay_copy(const struct flow_slot *slot, const struct relay_packet *packet)
{
	const struct engine_flow *flow = &slot->wanted;
	union socket_address target;

	for (unsigned i = 0; i < ENGINE_COPIES && flow->copies[i].port; i++) {
		address_to_socket(flow->copies[i].address, htons(flow->copies[i].port), &target);
		sendto(slot->socket, packet->data, packet->length, MSG_DONTWAIT, &target.any,
		       address_length(&target));
	}
}
