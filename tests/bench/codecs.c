/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a transcoded packet costs: for each pair of codecs the bare calls of the libraries (decode, resample,
 * encode), and the engine's whole way of one direction (RTP in, jitter buffer, decode, resample, encode, RTP
 * out), on the same packets, in turns. Arguments: rounds, packets in a round, first and last of
 * the codecs that PCMU is paired with.
 *
 * Prints a line for each direction: from, to, ns of bare calls, the same with Opus decoded at the rate that
 * it was coded at and resampled, ns of the whole way, bytes of its memory. Or with the arguments dump, a
 * codec's number and a file: writes sound in that codec.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "rtp.h"
#include "transcoder.h"

#define PTIME	20
#define PACKETS 250 /* of five seconds of sound, over and over */
#define REQUIRE(what)                                                                                        \
	do {                                                                                                 \
		if (!(what)) {                                                                               \
			fprintf(stderr, "%s:%d: %s is false\n", __FILE__, __LINE__, #what);                  \
			exit(1);                                                                             \
		}                                                                                            \
	} while (0)

struct codec {
	const char *name;
	unsigned number;
	struct codec_settings settings;
};

static const struct codec codecs[] = {
	{"PCMU", CODEC_PCMU, {.complexity = 5}},
	{"PCMA", CODEC_PCMA, {.complexity = 5}},
	{"G722", CODEC_G722, {.complexity = 5}},
	{"G729", CODEC_G729, {.complexity = 5}},
	{"opus/8000", CODEC_OPUS, {.rate = 8000, .complexity = 5, .bitrate = 24000}},
	{"opus/48000", CODEC_OPUS, {.rate = 48000, .complexity = 5, .bitrate = 24000}},
	{"opus/48000/10", CODEC_OPUS, {.rate = 48000, .complexity = 10, .bitrate = 24000}},
	{"opus/16000/10", CODEC_OPUS, {.rate = 16000, .complexity = 10, .bitrate = 24000}},
};

struct stream {
	uint8_t data[PACKETS][CODEC_PAYLOAD_MOST + RTP_FIXED];
	size_t length[PACKETS];
};

static struct stream stream;
static uint8_t sent[CODEC_PAYLOAD_MOST + RTP_FIXED];
static uint64_t sent_packets;

static void *memory(size_t bytes)
{
	void *block = aligned_alloc(64, (bytes + 63) / 64 * 64);

	REQUIRE(block);
	return block;
}

static double cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* A voice, roughly: harmonics of a gliding pitch in syllables. */
static void speak(int16_t *pcm, unsigned count, unsigned rate, double *phase, double start)
{
	for (unsigned i = 0; i < count; i++) {
		double t = start + (double)i / rate, pitch = 120 + 25 * sin(4.4 * t), sum = 0;

		*phase += 6.283185307 * pitch / rate;
		for (int harmonic = 1; harmonic < 20; harmonic++)
			sum += sin(harmonic * *phase) / (1 + pow((harmonic * pitch - 550) / 300, 2));
		pcm[i] = (int16_t)(4000 * sum * fabs(sin(6.6 * t)));
	}
}

static struct encoder *open_encoder(const struct codec *codec)
{
	struct codec_facts facts;

	REQUIRE(!codec_look_up(codec->number, &codec->settings, &facts));
	return encoder_open(memory(facts.encoder_bytes), codec->number, &codec->settings);
}

static struct decoder *open_decoder(const struct codec *codec)
{
	struct codec_facts facts;

	REQUIRE(!codec_look_up(codec->number, &codec->settings, &facts));
	return decoder_open(memory(facts.decoder_bytes), codec->number, &codec->settings);
}

static struct codec_facts facts_of(const struct codec *codec)
{
	struct codec_facts facts;

	REQUIRE(!codec_look_up(codec->number, &codec->settings, &facts));
	return facts;
}

static void fill_stream(const struct codec *codec)
{
	struct codec_facts facts = facts_of(codec);
	struct encoder *encoder = open_encoder(codec);
	unsigned count = facts.rate / 1000 * PTIME, skipped, rest;
	int16_t pcm[CODEC_SAMPLES_MOST];
	double phase = 0;

	REQUIRE(encoder);
	for (unsigned i = 0; i < PACKETS; i++) {
		int length;

		speak(pcm, count, facts.rate, &phase, i * 0.001 * PTIME);
		length = encoder_encode(encoder, pcm, count, stream.data[i] + RTP_FIXED, CODEC_PAYLOAD_MOST,
					&skipped, &rest);
		REQUIRE(length > 0);
		stream.length[i] = (size_t)length + RTP_FIXED;
	}
	encoder_close(encoder);
	free(encoder);
}

/* As a packet arrives; so it is part of both loops. */
static void number_packet(unsigned i, uint32_t ticks)
{
	struct rtp_fields fields = {
		.timestamp = i * ticks, .ssrc = 7, .sequence = (uint16_t)i, .payload_type = 1};

	rtp_write(&fields, stream.data[i % PACKETS]);
}

/* Opus as another codec's coder wants to have it. */
static struct codec decoded_for(const struct codec *from, const struct codec *to)
{
	struct codec decoded = *from;

	if (from->number == CODEC_OPUS)
		decoded.settings.rate = facts_of(to).rate;
	return decoded;
}

static double bare(const struct codec *from, const struct codec *to, unsigned packets)
{
	struct decoder *decoder = open_decoder(from);
	struct encoder *encoder = open_encoder(to);
	uint32_t rate = facts_of(from).rate, rate_to = facts_of(to).rate;
	uint32_t ticks = facts_of(from).clock_rate / 1000 * PTIME;
	int16_t decoded[CODEC_SAMPLES_MOST], resampled[CODEC_SAMPLES_MOST];
	struct resampler resampler;
	unsigned skipped, rest;
	double began;

	REQUIRE(decoder && encoder && !resampler_open(&resampler, rate, rate_to));
	began = cpu_ns();
	for (unsigned i = 0; i < packets; i++) {
		const uint8_t *packet = stream.data[i % PACKETS];
		int count =
			decoder_decode(decoder, packet + RTP_FIXED, stream.length[i % PACKETS] - RTP_FIXED,
				       decoded, CODEC_SAMPLES_MOST);
		const int16_t *pcm = decoded;
		unsigned wanted = rate_to / 1000 * PTIME;

		number_packet(i, ticks);
		if (rate != rate_to) {
			resample(&resampler, decoded, (unsigned)count, resampled, CODEC_SAMPLES_MOST);
			pcm = resampled;
		}
		REQUIRE(encoder_encode(encoder, pcm, wanted, sent, CODEC_PAYLOAD_MOST, &skipped, &rest) > 0);
	}
	began = cpu_ns() - began;
	resampler_close(&resampler);
	decoder_close(decoder);
	encoder_close(encoder);
	free(decoder);
	free(encoder);
	return began / packets;
}

static uint8_t *room(void *context)
{
	(void)context;
	return sent;
}

static void send(void *context, size_t length)
{
	(void)context;
	(void)length;
	sent_packets++;
}

static void tell(void *context, const struct transcoder_news *news)
{
	(void)context;
	(void)news;
}

static struct transcoder_settings settings_of(const struct codec *from, const struct codec *to)
{
	return (struct transcoder_settings){
		.receiver = {.codec = from->settings,
			     .rate = facts_of(to).rate,
			     .number = (uint8_t)from->number,
			     .payload_type = 1,
			     .event_type = RECEIVER_NO_TYPE,
			     .noise_type = RECEIVER_NO_TYPE},
		.sender = {.codec = to->settings,
			   .number = (uint8_t)to->number,
			   .ptime = PTIME,
			   .payload_type = 2,
			   .event_type = SENDER_NO_TYPE,
			   .noise_type = SENDER_NO_TYPE},
	};
}

static double whole(const struct codec *from, const struct codec *to, unsigned packets)
{
	struct transcoder_settings settings = settings_of(from, to);
	struct transcoder *transcoder;
	const struct packet_sink sink = {room, send, NULL};
	const struct transcoder_ear ear = {tell, NULL};
	uint32_t ticks = facts_of(from).clock_rate / 1000 * PTIME;
	uint64_t now = 1000000000, due = now;
	double began;

	transcoder = transcoder_open(memory(transcoder_bytes(&settings)), &settings, now);
	REQUIRE(transcoder);
	sent_packets = 0;
	began = cpu_ns();
	for (unsigned i = 0; i < packets; i++, now += PTIME * 1000000ULL) {
		number_packet(i, ticks);
		transcoder_put(transcoder, stream.data[i % PACKETS], stream.length[i % PACKETS], now, &ear);
		while (due < now + PTIME * 1000000ULL)
			due = transcoder_tick(transcoder, due, &sink, &ear);
	}
	began = cpu_ns() - began;
	REQUIRE(sent_packets + 5 > packets);
	transcoder_close(transcoder);
	free(transcoder);
	return began / packets;
}

static void measure(const struct codec *from, const struct codec *to, unsigned rounds, unsigned packets)
{
	struct transcoder_settings settings = settings_of(from, to);
	const struct codec decoded = decoded_for(from, to);
	double least_bare = INFINITY, least_wide = INFINITY, least_whole = INFINITY;

	fill_stream(from);
	for (unsigned round = 0; round < rounds; round++) {
		least_bare = fmin(least_bare, bare(&decoded, to, packets));
		least_wide = fmin(least_wide, bare(from, to, packets));
		least_whole = fmin(least_whole, whole(from, to, packets));
	}
	printf("%s %s %.0f %.0f %.0f %zu\n", from->name, to->name, least_bare, least_wide, least_whole,
	       transcoder_bytes(&settings));
	fflush(stdout);
}

static int compare(int count, char **arguments)
{
	unsigned rounds = count > 1 ? (unsigned)atoi(arguments[1]) : 5;
	unsigned packets = count > 2 ? (unsigned)atoi(arguments[2]) : PACKETS;
	unsigned first = count > 3 ? (unsigned)atoi(arguments[3]) : 1;
	unsigned last = count > 4 ? (unsigned)atoi(arguments[4]) : sizeof(codecs) / sizeof(codecs[0]) - 1;

	for (unsigned other = first; other <= last && other < sizeof(codecs) / sizeof(codecs[0]); other++) {
		measure(&codecs[0], &codecs[other], rounds, packets);
		measure(&codecs[other], &codecs[0], rounds, packets);
	}
	return 0;
}

/* Five seconds of sound in a codec of the table, each payload behind its length in two bytes. */
static int dump(unsigned number, const char *path)
{
	FILE *file = fopen(path, "wb");

	REQUIRE(file && number < sizeof(codecs) / sizeof(codecs[0]));
	fill_stream(&codecs[number]);
	for (unsigned i = 0; i < PACKETS; i++) {
		uint16_t length = (uint16_t)(stream.length[i] - RTP_FIXED);

		fwrite(&length, sizeof(length), 1, file);
		fwrite(stream.data[i] + RTP_FIXED, length, 1, file);
	}
	return fclose(file);
}

int main(int count, char **arguments)
{
	if (count == 4 && !strcmp(arguments[1], "dump"))
		return dump((unsigned)atoi(arguments[2]), arguments[3]);
	return compare(count, arguments);
}
