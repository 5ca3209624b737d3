/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "relay_ice.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "stun.h"

static void send_from(void *where, const __u8 *data, size_t length, const union socket_address *target)
{
	const struct flow_slot *slot = where;

	sendto(slot->socket, data, length, MSG_DONTWAIT, &target->any, address_length(target));
}

/* Another pair, or another state, than before is told, and acted upon. */
static void note(struct relay *relay, struct flow_slot *slot, const struct ice_outcome *before)
{
	const struct ice_outcome *now = &slot->paired;
	struct engine_event event = {.key = slot->wanted.local, .type = ENGINE_EVENT_ICE, .kind = now->state};

	if (now->state == before->state && now->port == before->port &&
	    !memcmp(now->address, before->address, sizeof(now->address)))
		return;
	flow_repair(slot);
	event.length = sizeof(now->address) + sizeof(now->port);
	memcpy(event.data, now->address, sizeof(now->address));
	memcpy(event.data + sizeof(now->address), &now->port, sizeof(now->port));
	worker_page_tell(relay->page, &event);
}

int relay_ice_set(struct relay *relay, struct flow_slot *slot, const struct engine_ice *wanted)
{
	struct ice_outcome before = slot->paired;
	__u64 now = relay_clock();

	if (!wanted->role || !slot->wanted.ice) {
		relay_ice_drop(slot);
		return wanted->role ? EINVAL : 0;
	}
	if (slot->ice)
		ice_change(slot->ice, wanted, now);
	else
		slot->ice = ice_create(wanted, &slot->paired, send_from, slot, now);
	if (!slot->ice)
		return ENOMEM;
	note(relay, slot, &before);
	return 0;
}

void relay_ice_drop(struct flow_slot *slot)
{
	ice_destroy(slot->ice);
	slot->ice = NULL;
}

bool relay_ice_take(struct relay *relay, struct flow_slot *slot, const struct relay_packet *packet,
		    enum reason *reason)
{
	struct ice_outcome before = slot->paired;

	if (!slot->wanted.ice || !stun_owns(packet->data, packet->length))
		return false;
	*reason = REASON_BAD_STUN;
	if (!slot->ice || packet->truncated || !address_port(packet->source))
		return true;
	if (ice_receive(slot->ice, packet->data, packet->length, packet->source, relay->now))
		*reason = REASON_FORWARDED;
	note(relay, slot, &before);
	return true;
}

enum reason relay_ice_source(const struct flow_slot *slot, const struct relay_packet *packet)
{
	__u8 address[16];

	if (!slot->paired.port)
		return slot->ice && ice_hears(slot->ice, packet->source) ? REASON_FORWARDED : REASON_NO_PAIR;
	address_from_socket(packet->source, address);
	if (address_port(packet->source) != slot->paired.port ||
	    memcmp(address, slot->paired.address, sizeof(address)))
		return REASON_WRONG_SOURCE;
	return REASON_FORWARDED;
}

void relay_ice_tick(struct relay *relay, struct flow_slot *slot)
{
	struct ice_outcome before = slot->paired;

	ice_tick(slot->ice, relay->now);
	note(relay, slot, &before);
}

__u64 relay_ice_due(const struct flow_slot *slot)
{
	return slot->ice ? ice_due(slot->ice) : ~0ULL;
}
