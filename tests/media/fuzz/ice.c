/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Agents of every role in the hands of a peer that knows the passwords: whatever it says, and whenever. */
#include <stdlib.h>
#include <string.h>

#include "ice.h"
#include "stun.h"

#define SECOND 1000000000ULL
#define REQUIRE(what)                                                                                        \
	do {                                                                                                 \
		if (!(what))                                                                                 \
			abort();                                                                             \
	} while (0)

int LLVMFuzzerTestOneInput(const __u8 *data, size_t length);

static __u8 asked[STUN_TRANSACTION]; /* by the agent's last request, for answers that fit */

static void hear(void *where, const __u8 *data, size_t length, const union socket_address *target)
{
	struct stun_message message;

	(void)where;
	REQUIRE(stun_read(data, length, &message) && address_port(target));
	if (message.class == STUN_REQUEST)
		memcpy(asked, message.transaction, sizeof(asked));
}

static union socket_address place(unsigned number)
{
	__u8 address[16] = {[10] = 0xff, [11] = 0xff, [12] = 192, [14] = 2, [15] = (__u8)number};
	union socket_address result;

	address_to_socket(address, htons((__u16)(1000 + number)), &result);
	return result;
}

static struct engine_ice settings(__u8 role, __u8 count, __u8 name)
{
	struct engine_ice ice = {.role = (__u8)(1 + role % 3),
				 .candidate_count = count % (ENGINE_CANDIDATES + 1),
				 .complete = count & 1,
				 .tiebreaker = 7};

	strcpy(ice.own_name, name & 1 ? "ours" : "fresh");
	strcpy(ice.own_password, "o");
	strcpy(ice.peer_name, "theirs");
	strcpy(ice.peer_password, "t");
	for (unsigned i = 0; i < ice.candidate_count; i++) {
		union socket_address candidate = place(i);

		address_from_socket(&candidate, ice.candidates[i].address);
		ice.candidates[i].port = (__u16)(1000 + i);
		ice.candidates[i].priority = i * role;
	}
	return ice;
}

/* A sealed message, drawn from four bytes. */
static size_t make(__u8 *data, const __u8 *drawn)
{
	bool answers = drawn[1] & 2;
	struct stun_writer writer =
		stun_begin(data, drawn[1] & 3, answers ? asked : (const __u8 *)"transaction-");

	if (!answers)
		stun_put_username(&writer, drawn[2] & 1 ? "ours" : "fresh", "theirs");
	if (drawn[2] & 2)
		stun_put_priority(&writer, drawn[3]);
	if (drawn[2] & 12)
		stun_put_role(&writer, drawn[2] & 4 ? STUN_CONTROLLED : STUN_CONTROLLING, drawn[3]);
	if (drawn[2] & 16)
		stun_put_use_candidate(&writer);
	if (answers && drawn[2] & 32)
		stun_put_error(&writer, STUN_ROLE_CONFLICT, NULL);
	return stun_finish(&writer, answers ? "t" : "o");
}

int LLVMFuzzerTestOneInput(const __u8 *data, size_t length)
{
	struct ice_outcome outcome = {0};
	struct engine_ice wanted = settings(length ? data[0] : 0, length ? data[0] >> 2 : 0, 1);
	__u64 now = SECOND;
	struct ice *ice = ice_create(&wanted, &outcome, hear, NULL, now);
	__u8 message[STUN_LONGEST];

	REQUIRE(ice);
	for (; length >= 4; data += 4, length -= 4) {
		union socket_address source = place(data[3] % 64);

		now += data[0] * (SECOND / 10);
		if (data[0] & 1)
			ice_tick(ice, now);
		if (data[0] == 255) {
			wanted = settings(data[1], data[2], data[3]);
			ice_change(ice, &wanted, now);
		}
		ice_receive(ice, message, make(message, data), &source, now);
		REQUIRE(ice_due(ice) && outcome.state <= ENGINE_ICE_FAILED);
		REQUIRE(outcome.state != ENGINE_ICE_SELECTED || outcome.port);
	}
	ice_destroy(ice);
	return 0;
}
