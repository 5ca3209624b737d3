/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Packets on their way through the codecs. */
#include <string.h>

#include "transcoder.h"
#include "sink.h"

#define MILLISECOND 1000000ULL

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte chooses the codec; then packets: pause, length, bytes with a header that lets most of them
 * in. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct transcoder_settings settings = {
		.receiver = {.rate = 8000, .payload_type = 0, .event_type = 1, .noise_type = 2, .listen = 1},
		.sender = {.number = CODEC_PCMA,
			   .ptime = 20,
			   .payload_type = 8,
			   .event_type = 101,
			   .noise_type = 13},
	};
	const struct packet_sink sink = {room, send, NULL};
	const struct transcoder_ear ear = {tell, NULL};
	uint64_t now = 1000 * MILLISECOND, due = now;
	struct transcoder *transcoder;
	void *memory;

	if (!size)
		return 0;
	settings.receiver.number = *data % CODECS;
	settings.receiver.codec.rate = settings.receiver.number == CODEC_OPUS ? 8000 : 0;
	memory = aligned_alloc(64, (transcoder_bytes(&settings) + 63) / 64 * 64);
	REQUIRE(memory);
	transcoder = transcoder_open(memory, &settings, now);
	REQUIRE(transcoder);
	for (data++, size--; size > 2; data += 2, size -= 2) {
		size_t length = data[1] < size - 2 ? data[1] : size - 2;
		uint8_t *packet = malloc(length + 1);

		now += data[0] * MILLISECOND / 4;
		memcpy(packet, data + 2, length);
		if (length > 1) {
			packet[0] = (packet[0] & 0x3f) | 0x80;
			packet[1] &= 0x83;
		}
		transcoder_put(transcoder, packet, length, now, &ear);
		free(packet);
		while (due <= now)
			due = transcoder_tick(transcoder, due, &sink, &ear);
		data += length;
		size -= length;
	}
	transcoder_close(transcoder);
	free(memory);
	return 0;
}
