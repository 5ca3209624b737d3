/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What strangers can send to codecs, jitter buffer, telephone events and WAV files, for libFuzzer: one target
 * for each TARGET (1 telephone events, 2 WAV, 3 jitter buffer, 4 transcoder).
 */
#include <stdlib.h>
#include <string.h>

#include "dtmf.h"
#include "jitterbuffer.h"
#include "transcoder.h"
#include "wav.h"

#define MILLISECOND 1000000ULL
#define REQUIRE(what)                                                                                        \
	do {                                                                                                 \
		if (!(what))                                                                                 \
			abort();                                                                             \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#if TARGET == 1
/* Reports of 6 bytes: what time stamp, and the payload. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dtmf_receiver receiver = {0};
	uint64_t now = 1;

	for (; size >= 6; data += 6, size -= 6) {
		now += data[1] * MILLISECOND;
		dtmf_receive(&receiver, (uint32_t)data[0] << 10, data + 2, data[1] % 5, now);
		dtmf_expire(&receiver, now);
		REQUIRE(receiver.now.event < 16 && dtmf_duration(&receiver) < 0x1000000);
	}
	return 0;
}
#elif TARGET == 2
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int16_t pcm[64];
	struct wav wav;

	if (wav_read(data, size, &wav) != WAV_OK)
		return 0;
	REQUIRE(wav.data >= data && wav.data + wav.bytes <= data + size);
	for (unsigned first = 0; wav_samples(&wav, first, pcm, 64) && first < 100000; first += 64)
		;
	return 0;
}
#elif TARGET == 3
/* Steps of 8 bytes: pause, sequence, time stamp, SSRC and kind, length. */
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
#else
static uint8_t sent[CODEC_PAYLOAD_MOST + 12];

static uint8_t *room(void *context)
{
	(void)context;
	return sent;
}

static void send(void *context, size_t length)
{
	(void)context;
	REQUIRE(length <= sizeof(sent));
}

static void tell(void *context, const struct transcoder_news *news)
{
	(void)context;
	REQUIRE(news->digit < 16);
}

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
#endif
