/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Packets of a leg into whose stream digits are put. */
#include <string.h>

#include "inserter.h"
#include "sink.h"

#define MILLISECOND 1000000ULL

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte says what is taken out; then packets: pause, length, bytes of one of two SSRCs. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct inserter_settings settings = {
		.sender = {.ssrc = 1, .ptime = 20, .event_type = 1, .noise_type = SENDER_NO_TYPE},
	};
	const struct packet_sink sink = {room, send, NULL};
	const struct transcoder_ear ear = {tell, NULL};
	const struct dtmf_digit digit = {.event = 5, .volume = 10, .ms = 60};
	uint64_t now = 1000 * MILLISECOND, due = now;
	struct inserter *inserter;
	void *memory;

	if (!size)
		return 0;
	settings.block = *data & 1 ? 1 + (*data >> 4) % 4 : 0;
	settings.cover.frequency = 1000;
	settings.mute = *data >> 1 & 1;
	settings.deaf = *data >> 2 & 1;
	settings.own = *data >> 3 & 1;
	memory = aligned_alloc(64, (inserter_bytes(&settings) + 63) / 64 * 64);
	REQUIRE(memory);
	inserter = inserter_open(memory, &settings);
	REQUIRE(inserter);
	for (data++, size--; size > 2; data += 2, size -= 2) {
		size_t length = data[1] < size - 2 ? data[1] : size - 2;
		uint8_t *packet = malloc(length + 1);

		now += data[0] * MILLISECOND / 4;
		memcpy(packet, data + 2, length);
		if (length > 11) {
			packet[0] = (packet[0] & 0x3f) | 0x80;
			packet[1] &= 0x81;
			packet[8] = packet[9] = packet[10] = 0;
			packet[11] &= 1;
		}
		inserter_put(inserter, packet, length, now, &sink, &ear);
		free(packet);
		if (!(data[0] % 16) && !dtmf_queue(&inserter->sender->digits, &digit))
			due = now;
		while (due <= now)
			due = inserter_tick(inserter, due, &sink, &ear);
		data += length;
		size -= length;
	}
	inserter_close(inserter);
	free(memory);
	return 0;
}
