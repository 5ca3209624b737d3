/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Frames as they come from a wire; what is taken from one goes into another, and comes out of it again. */
#include <stdint.h>
#include <string.h>

#include "frame.h"
#include "require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void send_on(const struct frame *frame)
{
	static const struct engine_hop hop = {.ifindex = 1, .vlan = {7, 9}};
	struct frame_head head = {
		.hop = &hop, .source_address = frame->local, .target = &frame->source, .source_port = 9};
	uint8_t *room = malloc(FRAME_HEAD + frame->length);
	struct frame again;
	size_t length;

	REQUIRE(room);
	length = frame_write(room, &head, frame->payload, frame->length);
	REQUIRE(length <= FRAME_HEAD + frame->length);
	REQUIRE(frame_read(room, length, &again) == REASON_FORWARDED);
	REQUIRE(again.length == frame->length && !memcmp(again.payload, frame->payload, frame->length));
	REQUIRE(again.port == ntohs(address_port(&frame->source)));
	free(room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size + 1);
	struct frame frame;

	REQUIRE(copy);
	memcpy(copy, data, size);
	if (frame_read(copy, size, &frame) == REASON_FORWARDED) {
		REQUIRE(frame.payload >= copy && frame.payload + frame.length <= copy + size);
		send_on(&frame);
	}
	free(copy);
	return 0;
}
