/* SPDX-License-Identifier: GPL-3.0-or-later */
/* STUN as ICE reads it: damaged messages, and ones whose FINGERPRINT the fuzzer need not guess. */
#include <stdlib.h>
#include <string.h>

#include "stun.h"

#define REQUIRE(what)                                                                                        \
	do {                                                                                                 \
		if (!(what))                                                                                 \
			abort();                                                                             \
	} while (0)

static bool within(const struct stun_message *message, const __u8 *at, size_t length)
{
	return at >= message->data && at + length <= message->data + message->length;
}

static void check(const __u8 *data, size_t length)
{
	struct stun_message message;

	if (!stun_read(data, length, &message))
		return;
	REQUIRE(within(&message, message.transaction, STUN_TRANSACTION));
	REQUIRE(!message.username || within(&message, message.username, message.username_length));
	REQUIRE(message.integrity + 24 <= length && message.unknown_count <= STUN_UNKNOWNS);
	stun_authentic(&message, "VOkJxbRl1RmTxUk/WvJxBt");
}

/* The attributes as they are, in a message that is whole otherwise. */
static void check_whole(const __u8 *attributes, size_t length)
{
	__u8 *data = malloc(20 + length + 8);
	struct stun_writer writer;

	REQUIRE(data);
	writer = stun_begin(data, length ? attributes[0] & 3 : STUN_REQUEST, (const __u8 *)"transaction-");
	memcpy(data + writer.length, attributes, length);
	writer.length += length;
	check(data, stun_finish(&writer, NULL));
	free(data);
}

int LLVMFuzzerTestOneInput(const __u8 *data, size_t length);

int LLVMFuzzerTestOneInput(const __u8 *data, size_t length)
{
	stun_owns(data, length);
	check(data, length);
	check_whole(data, length / 4 * 4);
	return 0;
}
