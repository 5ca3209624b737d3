/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "sender.h"

#include <string.h>

#include "noise.h"
#include "rtp.h"

#define ALIGN	    16
#define DESCRIBE_MS 400	   /* between two descriptions of silence */
#define LONGEST	    0xffff /* ticks that an event can report */

static size_t rounded(size_t bytes)
{
	return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

size_t sender_bytes(const struct sender_settings *settings)
{
	struct codec_facts facts;

	if ((settings->event_rate && settings->event_rate < 1000) ||
	    codec_look_up(settings->number, &settings->codec, &facts))
		return 0;
	return rounded(sizeof(struct sender)) + rounded(facts.encoder_bytes);
}

struct sender *sender_open(void *memory, const struct sender_settings *settings)
{
	struct sender *sender = memory;
	struct codec_facts facts;

	if (codec_look_up(settings->number, &settings->codec, &facts))
		return NULL;
	memset(sender, 0, sizeof(*sender));
	sender->settings = *settings;
	sender->rate = facts.rate;
	sender->clock_rate = facts.clock_rate;
	sender->ptime = codec_ptime(settings->number, settings->ptime);
	sender->timestamp = settings->timestamp;
	sender->sequence = settings->sequence;
	sender->paused = 1;
	talk_open(&sender->talk);
	sender->encoder = encoder_open((uint8_t *)memory + rounded(sizeof(*sender)), settings->number,
				       &settings->codec);
	return sender->encoder ? sender : NULL;
}

void sender_close(struct sender *sender)
{
	encoder_close(sender->encoder);
}

unsigned sender_samples(const struct sender *sender)
{
	return sender->rate / 1000 * sender->ptime;
}

static uint32_t ticks_of_ms(const struct sender *sender, uint32_t ms)
{
	return sender->clock_rate / 1000 * ms;
}

static uint32_t ticks_of_samples(const struct sender *sender, uint32_t samples)
{
	return (uint32_t)((uint64_t)samples * sender->clock_rate / sender->rate);
}

/* Sends what was written behind the header. */
static void finish(struct sender *sender, const struct packet_sink *sink, uint8_t *packet, size_t length,
		   uint8_t payload_type, uint8_t marker, uint32_t timestamp)
{
	struct rtp_fields fields = {
		.timestamp = timestamp,
		.ssrc = sender->settings.ssrc,
		.sequence = sender->sequence++,
		.payload_type = payload_type,
		.marker = marker,
	};

	rtp_write(&fields, packet);
	sink->send(sink->context, RTP_FIXED + length);
	sender->counts.packets++;
	sender->counts.bytes += length;
}

/* A piece of sound whose first sample has `timestamp`; further packets for what does not go into the first.
 */
static void send_sound(struct sender *sender, const int16_t *pcm, unsigned samples, uint32_t timestamp,
		       const struct packet_sink *sink)
{
	while (samples) {
		uint8_t *packet = sink->room(sink->context);
		unsigned skipped, rest;
		int length;

		if (!packet) {
			sender->paused = 1;
			return;
		}
		length = encoder_encode(sender->encoder, pcm, samples, packet + RTP_FIXED, CODEC_PAYLOAD_MOST,
					&skipped, &rest);
		if (length < 0)
			return;
		if (length)
			finish(sender, sink, packet, (size_t)length, sender->settings.payload_type,
			       sender->paused, timestamp + ticks_of_samples(sender, skipped));
		else
			sender->counts.silent += samples / (sender->rate / 1000);
		sender->paused = !length;
		pcm += samples - rest;
		timestamp += ticks_of_samples(sender, samples - rest);
		samples = rest;
	}
}

static void send_description(struct sender *sender, const int16_t *pcm, unsigned samples,
			     const struct packet_sink *sink)
{
	uint8_t *packet = sink->room(sink->context);

	if (!packet)
		return;
	noise_describe(pcm, samples, packet + RTP_FIXED);
	finish(sender, sink, packet, NOISE_PAYLOAD, sender->settings.noise_type, 0, sender->timestamp);
	sender->unsaid = 0;
}

/* Whether the sound is silence, which is described at its beginning and every now and then, not sent. */
static int left_out(struct sender *sender, const int16_t *pcm, unsigned samples,
		    const struct packet_sink *sink)
{
	if (sender->settings.noise_type == SENDER_NO_TYPE)
		return 0;
	if (talk_heard(&sender->talk, noise_level(pcm, samples), sender->ptime))
		return 0;
	sender->counts.silent += sender->ptime;
	sender->unsaid += sender->ptime;
	if (!sender->paused || sender->unsaid >= DESCRIBE_MS)
		send_description(sender, pcm, samples, sink);
	sender->paused = 1;
	return 1;
}

/* The report says how many ms the digit has lasted; the packet says it in ticks, as far as it can. */
static void send_event(struct sender *sender, struct dtmf_event *report, int first,
		       const struct packet_sink *sink)
{
	uint8_t *packet = sink->room(sink->context);
	uint32_t rate = sender->settings.event_rate ? sender->settings.event_rate : sender->clock_rate;
	uint32_t ticks = rate / 1000 * report->duration;

	if (first)
		sender->event_timestamp = sender->timestamp;
	if (!packet)
		return;
	report->duration = (uint16_t)(ticks < LONGEST ? ticks : LONGEST);
	dtmf_write(report, packet + RTP_FIXED);
	finish(sender, sink, packet, DTMF_PAYLOAD, sender->settings.event_type, (uint8_t)first,
	       sender->event_timestamp);
	sender->paused = 1;
}

static void write_tone(struct sender *sender, const struct dtmf_event *report, int first, int16_t *pcm)
{
	if (first)
		tone_start(&sender->tone, report->event, sender->rate, -(float)report->volume);
	if (report->end)
		tone_end(&sender->tone);
	tone_make(&sender->tone, pcm, sender_samples(sender));
}

/* Whether a digit takes the place of the sound. */
static int send_digit(struct sender *sender, int16_t *pcm, const struct packet_sink *sink)
{
	struct dtmf_event report;
	int first;

	if (!dtmf_step(&sender->digits, sender->ptime, &report))
		return 0;
	first = sender->digits.fresh;
	sender->digits.fresh = 0;
	sender->counts.digits += (uint64_t)first;
	if (sender->settings.event_type != SENDER_NO_TYPE) {
		send_event(sender, &report, first, sink);
		return 1;
	}
	write_tone(sender, &report, first, pcm);
	return 0;
}

void sender_push(struct sender *sender, int16_t *pcm, const struct packet_sink *sink)
{
	unsigned samples = sender_samples(sender);

	if (!send_digit(sender, pcm, sink) && !left_out(sender, pcm, samples, sink))
		send_sound(sender, pcm, samples, sender->timestamp, sink);
	sender->timestamp += ticks_of_ms(sender, sender->ptime);
}

static int has_digits(const struct sender *sender)
{
	return sender->digits.active || sender->digits.count;
}

int sender_takes_payload(const struct sender *sender)
{
	return sender->settings.noise_type == SENDER_NO_TYPE && !has_digits(sender);
}

void sender_forward(struct sender *sender, uint8_t *packet, size_t length, const struct packet_sink *sink)
{
	finish(sender, sink, packet, length, sender->settings.payload_type, sender->paused,
	       sender->timestamp);
	sender->paused = 0;
	sender->timestamp += ticks_of_ms(sender, sender->ptime);
}

void sender_pass(struct sender *sender, const struct packet_sink *sink)
{
	int16_t silence[CODEC_SAMPLES_MOST];

	if (has_digits(sender)) {
		memset(silence, 0, sender_samples(sender) * sizeof(*silence));
		sender_push(sender, silence, sink);
		return;
	}
	sender->paused = 1;
	sender->counts.silent += sender->ptime;
	sender->timestamp += ticks_of_ms(sender, sender->ptime);
}
