/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The jitter buffer: steps of 8 bytes, pause, sequence, time stamp, SSRC and kind, length. */
#include "jitterbuffer.h"
#include "require.h"

#define MILLISECOND 1000000ULL

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static _Alignas(16) uint8_t memory[JITTERBUFFER_BYTES];
	static const uint8_t payload[700];
	struct jitterbuffer *buffer = jitterbuffer_open(memory, 640, 8000);
	struct jitterbuffer_frame frame;
	uint64_t now = 1000 * MILLISECOND;

	REQUIRE(jitterbuffer_bytes(640) <= JITTERBUFFER_BYTES);
	for (; size >= 8; data += 8, size -= 8) {
		struct jitterbuffer_packet packet = {
			.ssrc = data[6] >> 6,
			.timestamp = (uint32_t)data[3] << 24 | (uint32_t)data[4] << 8 | data[5],
			.sequence = (uint16_t)(data[1] << 8 | data[2]),
			.length = (uint16_t)(data[7] * 3),
			.kind = data[6] % 3,
			.payload = payload,
		};

		now += data[0] * MILLISECOND / 4;
		jitterbuffer_put(buffer, &packet, now);
		switch (jitterbuffer_get(buffer, now, &frame)) {
		case JITTERBUFFER_FRAME:
			REQUIRE(frame.length <= 640 && frame.kind != JITTERBUFFER_EVENT);
			jitterbuffer_advance(buffer, 160);
			break;
		case JITTERBUFFER_LOST:
		case JITTERBUFFER_GAP:
			REQUIRE(frame.ticks <= 480);
			jitterbuffer_advance(buffer, frame.ticks);
			break;
		default:
			break;
		}
	}
	return 0;
}
