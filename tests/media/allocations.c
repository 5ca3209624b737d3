/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Nothing is allocated in the way of a packet: with malloc replaced by one that counts, every pair of codecs
 * carries packets, loses some, conceals, dials and falls silent, and every suite of SRTP protects and opens
 * them. Prints how many allocations were seen while those were opened (which is allowed), and fails if there
 * was one afterwards.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "counted.h"
#include "inserter.h"
#include "rtp.h"
#include "srtp.h"
#include "transcoder.h"

#define PACKETS	    400
#define MILLISECOND 1000000ULL

static uint8_t sent[CODEC_PAYLOAD_MOST + RTP_FIXED];

static uint8_t *room(void *context)
{
	(void)context;
	return sent;
}

static void send(void *context, size_t length)
{
	(void)context;
	(void)length;
}

static void tell(void *context, const struct transcoder_news *news)
{
	(void)context;
	(void)news;
}

static const unsigned lengths[CODECS] = {160, 160, 160, 20, 60};

static struct transcoder *open_pair(unsigned from, unsigned to, struct transcoder_settings *settings)
{
	uint32_t rate = to == CODEC_G722 ? 16000 : 8000;

	*settings = (struct transcoder_settings){
		.receiver = {.number = (uint8_t)from,
			     .rate = rate,
			     .payload_type = 0,
			     .event_type = 101,
			     .noise_type = 13,
			     .listen = 1},
		.sender = {.number = (uint8_t)to,
			   .ptime = 20,
			   .payload_type = 1,
			   .event_type = 101,
			   .noise_type = 13},
	};
	settings->receiver.codec.rate = from == CODEC_OPUS ? rate : 0;
	settings->sender.codec.rate = to == CODEC_OPUS ? rate : 0;
	return transcoder_open(aligned_alloc(64, (transcoder_bytes(settings) + 63) / 64 * 64), settings, 1);
}

static void carry(struct transcoder *transcoder, unsigned from)
{
	const struct packet_sink sink = {room, send, NULL};
	const struct transcoder_ear ear = {tell, NULL};
	const struct dtmf_digit digit = {5, 10, 100};
	uint8_t packet[200] = {0};
	uint64_t now = 1000 * MILLISECOND, due = now;

	for (unsigned i = 0; i < PACKETS; i++, now += 20 * MILLISECOND) {
		struct rtp_fields fields = {.timestamp = i * (from == CODEC_OPUS ? 960 : 160),
					    .ssrc = 7,
					    .sequence = (uint16_t)i,
					    .payload_type = i % 100 == 50 ? 13 : 0};

		rtp_write(&fields, packet);
		memset(packet + RTP_FIXED, (int)(i * 7), sizeof(packet) - RTP_FIXED);
		packet[RTP_FIXED] = from == CODEC_OPUS ? 0x48 : (uint8_t)i;
		if (i % 9)
			transcoder_put(transcoder, packet, RTP_FIXED + lengths[from], now, &ear);
		if (i % 150 == 10)
			transcoder_digit(transcoder, &digit);
		while (due <= now)
			due = transcoder_tick(transcoder, due, &sink, &ear);
	}
}

static struct inserter *open_inserter(unsigned number)
{
	uint32_t rate = number == CODEC_OPUS ? 16000 : 0;
	const struct inserter_settings settings = {
		.sender = {.codec.rate = rate,
			   .number = (uint8_t)number,
			   .ssrc = 9,
			   .ptime = 20,
			   .event_type = 101,
			   .noise_type = SENDER_NO_TYPE},
	};

	return inserter_open(aligned_alloc(64, (inserter_bytes(&settings) + 63) / 64 * 64), &settings);
}

/* A leg's packets, digits amid them, silence in their place, and pauses in which there are none. */
static void insert(struct inserter *inserter, unsigned number)
{
	const struct packet_sink sink = {room, send, NULL};
	const struct transcoder_ear ear = {tell, NULL};
	const struct dtmf_digit digit = {5, 10, 100, 0};
	uint8_t packet[200] = {0};
	uint64_t now = 1000 * MILLISECOND, due = now;

	for (unsigned i = 0; i < PACKETS; i++, now += 20 * MILLISECOND) {
		struct rtp_fields fields = {.timestamp = i * (number == CODEC_OPUS ? 960 : 160),
					    .ssrc = 7,
					    .sequence = (uint16_t)i};

		rtp_write(&fields, packet);
		inserter->settings.mute = i / 40 % 2;
		if (i / 100 % 3)
			inserter_put(inserter, packet, RTP_FIXED + lengths[number], now, &sink, &ear);
		if (i % 50 == 10 && !dtmf_queue(&inserter->sender->digits, &digit))
			due = now;
		while (due <= now)
			due = inserter_tick(inserter, due, &sink, &ear);
	}
}

/* Packets of two streams and their RTCP, protected, opened, and opened again as a replay. */
static int secure(unsigned suite, unsigned long *opening, unsigned long *carrying)
{
	static struct srtp_history histories[2];
	struct srtp_keys keys = {.suite = (uint8_t)suite, .mki_length = 1};
	struct srtp_context sends, receives;
	unsigned long before = allocations;
	uint8_t packet[400], again[400];
	int failed = 0;

	memset(histories, 0, sizeof(histories));
	if (srtp_open(&sends, &keys, &histories[0], true) ||
	    srtp_open(&receives, &keys, &histories[1], false))
		return -1;
	*opening += allocations - before;
	before = allocations;
	for (unsigned i = 0; i < PACKETS; i++) {
		struct rtp_fields fields = {.ssrc = 7 + i % 2, .sequence = (uint16_t)(65000 + i * 5)};
		size_t length = 172, twice;
		int rtcp = i % 50 == 1;

		memset(packet, (int)i, sizeof(packet));
		rtp_write(&fields, packet);
		if (rtcp)
			memcpy(packet, "\x80\xc8\x00\x2a\0\0\0\7", 8);
		failed |=
			rtcp ? srtcp_protect(&sends, packet, &length) : srtp_protect(&sends, packet, &length);
		memcpy(again, packet, sizeof(packet));
		twice = length;
		failed |= rtcp ? srtcp_unprotect(&receives, packet, &length)
			       : srtp_unprotect(&receives, packet, &length);
		failed |= !(rtcp ? srtcp_unprotect(&receives, again, &twice)
				 : srtp_unprotect(&receives, again, &twice));
	}
	*carrying += allocations - before;
	srtp_close(&sends);
	srtp_close(&receives);
	return failed;
}

int main(void)
{
	unsigned long opening = 0, carrying = 0;

	for (unsigned suite = AES_CM_128_HMAC_SHA1_80; suite <= AEAD_AES_256_GCM; suite++)
		if (secure(suite, &opening, &carrying))
			return 3;

	for (unsigned from = 0; from < CODECS; from++)
		for (unsigned to = 0; to < CODECS; to++) {
			struct transcoder_settings settings;
			unsigned long before = allocations;
			struct transcoder *transcoder = open_pair(from, to, &settings);

			if (!transcoder)
				return 2;
			opening += allocations - before;
			before = allocations;
			carry(transcoder, from);
			carrying += allocations - before;
			transcoder_close(transcoder);
			free(transcoder);
		}
	for (unsigned number = 0; number < CODECS; number++) {
		unsigned long before = allocations;
		struct inserter *inserter = open_inserter(number);

		if (!inserter)
			return 2;
		opening += allocations - before;
		before = allocations;
		insert(inserter, number);
		carrying += allocations - before;
		inserter_close(inserter);
		free(inserter);
	}
	printf("opening %lu carrying %lu\n", opening, carrying);
	return carrying != 0;
}
