/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "receiver.h"

#include <string.h>

#include "rtp.h"
#include "timescale.h"

#define ALIGN	  16
#define PULL_MS	  60 /* the longest */
#define IDLE_MS	  1000
#define MARGIN_MS 10
#define EARLY_US  10000 /* this much too early: make it longer */
#define LATE_US	  10000 /* this much too late, beyond the time between two pulls: make it shorter */

static size_t rounded(size_t bytes)
{
	return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* Opus is decoded to any rate at once, whatever it was coded at: that is less work, and none is left for the
 * resampler. */
static struct codec_settings decoding(const struct receiver_settings *settings)
{
	struct codec_settings codec = settings->codec;

	if (settings->number == CODEC_OPUS)
		codec.rate = settings->rate;
	return codec;
}

static int look_up(const struct receiver_settings *settings, struct codec_facts *facts)
{
	const struct codec_settings codec = decoding(settings);

	if (settings->rate != 8000 && settings->rate != 16000 && settings->rate != 48000)
		return -1;
	if (settings->event_rate && settings->event_rate < 1000)
		return -1;
	return codec_look_up(settings->number, &codec, facts);
}

static size_t queue_bytes(const struct receiver_settings *settings, const struct codec_facts *facts)
{
	uint32_t rate = settings->rate > facts->rate ? settings->rate : facts->rate;

	return rounded(rate / 1000 * (facts->packet_ms + PULL_MS + TIMESCALE_PERIOD_MS) * sizeof(int16_t));
}

size_t receiver_bytes(const struct receiver_settings *settings)
{
	struct codec_facts facts;

	if (look_up(settings, &facts))
		return 0;
	return rounded(sizeof(struct receiver)) + rounded(jitterbuffer_bytes(facts.slot)) +
	       rounded(facts.decoder_bytes) + queue_bytes(settings, &facts);
}

static int open_parts(struct receiver *receiver, const struct codec_facts *facts)
{
	const struct receiver_settings *settings = &receiver->settings;
	const struct codec_settings codec = decoding(settings);
	uint8_t *memory = (uint8_t *)receiver + rounded(sizeof(*receiver));

	receiver->jitter = jitterbuffer_open(memory, facts->slot, facts->clock_rate);
	memory += rounded(jitterbuffer_bytes(facts->slot));
	receiver->queue = (int16_t *)(memory + rounded(facts->decoder_bytes));
	receiver->queue_room = (uint32_t)(queue_bytes(settings, facts) / sizeof(int16_t));
	if (settings->listen && tone_detector_open(&receiver->tones, settings->rate))
		return -1;
	if (resampler_open(&receiver->resampler, facts->rate, settings->rate))
		return -1;
	receiver->decoder = decoder_open(memory, settings->number, &codec);
	if (receiver->decoder)
		return 0;
	resampler_close(&receiver->resampler);
	return -1;
}

struct receiver *receiver_open(void *memory, const struct receiver_settings *settings)
{
	struct receiver *receiver = memory;
	struct codec_facts facts;

	if (look_up(settings, &facts))
		return NULL;
	memset(receiver, 0, sizeof(*receiver));
	receiver->settings = *settings;
	receiver->codec_rate = facts.rate;
	receiver->clock_rate = facts.clock_rate;
	receiver->starving = IDLE_MS;
	receiver->tones.digit = TONE_NONE;
	noise_open(&receiver->noise, 1);
	return open_parts(receiver, &facts) ? NULL : receiver;
}

void receiver_close(struct receiver *receiver)
{
	decoder_close(receiver->decoder);
	resampler_close(&receiver->resampler);
}

static int kind_of(const struct receiver *receiver, uint8_t payload_type)
{
	if (payload_type == receiver->settings.payload_type)
		return JITTERBUFFER_SOUND;
	if (payload_type == receiver->settings.event_type)
		return JITTERBUFFER_EVENT;
	return payload_type == receiver->settings.noise_type ? JITTERBUFFER_NOISE : -1;
}

static unsigned milliseconds(const struct receiver *receiver, unsigned samples)
{
	return samples / (receiver->codec_rate / 1000);
}

static unsigned common_divisor(unsigned one, unsigned other)
{
	while (other) {
		unsigned rest = one % other;

		one = other;
		other = rest;
	}
	return one;
}

/*
 * How long packets of `ms` have to wait at least. All that is pulled at once has to be there, be it of
 * several packets; and a packet that carries the one before along when that one is due.
 */
static unsigned least_wait(const struct receiver *receiver, unsigned ms)
{
	unsigned pulled = receiver->pulled_ms, beyond = pulled ? pulled - common_divisor(pulled, ms) : 0;
	unsigned wait = beyond ? beyond + MARGIN_MS : 0, carried = ms + MARGIN_MS;

	return receiver->settings.codec.fec && carried > wait ? carried : wait;
}

static void note_length(struct receiver *receiver, const struct rtp_fields *fields)
{
	int samples;

	if (fields->length == receiver->packet_bytes)
		return;
	samples = decoder_duration(receiver->decoder, fields->payload, fields->length);
	if (samples < (int)receiver->codec_rate / 1000)
		return;
	receiver->packet_bytes = (uint32_t)fields->length;
	receiver->jitter->delay.floor =
		(int64_t)least_wait(receiver, milliseconds(receiver, (unsigned)samples)) * 1000;
}

void receiver_pulls(struct receiver *receiver, unsigned count)
{
	receiver->pulled_ms = count * 1000 / receiver->settings.rate;
	receiver->packet_bytes = 0;
}

enum dtmf_news receiver_put(struct receiver *receiver, const uint8_t *data, size_t length, uint64_t now)
{
	struct jitterbuffer_packet packet;
	struct rtp_fields fields;
	int kind = -1;

	if (!rtp_read(data, length, &fields))
		kind = kind_of(receiver, fields.payload_type);
	if (kind < 0 || fields.length > UINT16_MAX) {
		receiver->counts.unknown++;
		return DTMF_NOTHING;
	}
	packet = (struct jitterbuffer_packet){fields.ssrc,     fields.timestamp,
					      fields.sequence, (uint16_t)fields.length,
					      (uint8_t)kind,   fields.payload};
	if (kind == JITTERBUFFER_SOUND)
		note_length(receiver, &fields);
	jitterbuffer_put(receiver->jitter, &packet, now);
	if (kind != JITTERBUFFER_EVENT)
		return DTMF_NOTHING;
	return dtmf_receive(&receiver->dtmf, fields.timestamp, fields.payload, fields.length, now);
}

/* Room at the end of the queue; sound of the codec's rate is put there if that is the rate wanted. */
static int16_t *tail(struct receiver *receiver)
{
	return receiver->queue + receiver->queued;
}

static unsigned room(const struct receiver *receiver)
{
	return receiver->queue_room - receiver->queued;
}

static void enqueue(struct receiver *receiver, const int16_t *pcm, unsigned count)
{
	if (pcm == tail(receiver))
		receiver->queued += count;
	else
		receiver->queued +=
			resample(&receiver->resampler, pcm, count, tail(receiver), room(receiver));
}

/* Nearer to the delay that the jitter buffer asks for, by a pitch period at most. */
static unsigned adjust(struct receiver *receiver, int16_t *pcm, unsigned count, int32_t behind_us,
		       unsigned pulled_us)
{
	unsigned changed = count;

	if (behind_us > (int32_t)pulled_us + LATE_US) {
		changed = timescale_shorten(pcm, count, receiver->codec_rate);
		receiver->counts.shortened += milliseconds(receiver, count - changed);
	} else if (behind_us < -EARLY_US) {
		changed = timescale_lengthen(pcm, count, receiver->codec_rate);
		receiver->counts.lengthened += milliseconds(receiver, changed - count);
	}
	return changed;
}

static uint32_t ticks_of(const struct receiver *receiver, unsigned samples)
{
	if (receiver->clock_rate == receiver->codec_rate)
		return samples;
	return (uint32_t)((uint64_t)samples * receiver->clock_rate / receiver->codec_rate);
}

/*
 * What was made up while nobody knew whether a packet would come: one has, so that was concealment, but for
 * the time in which nothing was sent, as its time stamp tells where none is missing.
 */
static void note_starved(struct receiver *receiver, uint32_t ticks)
{
	unsigned unsent = ticks / (receiver->clock_rate / 1000);

	if (receiver->starving < IDLE_MS && !receiver->quiet) {
		unsent = unsent < receiver->starving ? unsent : receiver->starving;
		receiver->counts.silent += unsent;
		receiver->counts.concealed += receiver->starving - unsent;
	}
	receiver->starving = 0;
}

static void note_played(struct receiver *receiver, const struct jitterbuffer_frame *frame, unsigned count)
{
	jitterbuffer_advance(receiver->jitter, ticks_of(receiver, count));
	receiver->counts.played++;
	receiver->counts.decoded += milliseconds(receiver, count);
	note_starved(receiver, frame->ticks);
	receiver->described = 0;
	receiver->quiet = (uint8_t)decoder_ends_talk(receiver->decoder, frame->payload, frame->length);
}

static void play_sound(struct receiver *receiver, const struct jitterbuffer_frame *frame, unsigned pulled_us,
		       int16_t *scratch)
{
	int16_t *pcm = receiver->resampler.speex ? scratch : tail(receiver);
	unsigned most = receiver->resampler.speex ? CODEC_SAMPLES_MOST : room(receiver);
	int count = decoder_decode(receiver->decoder, frame->payload, frame->length, pcm, most);

	if (count <= 0) {
		receiver->counts.malformed++;
		return;
	}
	note_played(receiver, frame, (unsigned)count);
	if ((unsigned)count + receiver->codec_rate / 1000 * TIMESCALE_PERIOD_MS <= most)
		count = (int)adjust(receiver, pcm, (unsigned)count, frame->behind_us, pulled_us);
	enqueue(receiver, pcm, (unsigned)count);
}

static void play_noise(struct receiver *receiver, const struct jitterbuffer_frame *frame)
{
	if (noise_update(&receiver->noise, frame->payload, frame->length)) {
		receiver->counts.malformed++;
		return;
	}
	receiver->quiet = receiver->described = 1;
	receiver->starving = 0;
}

/* Sound for `ms` without a packet: what the sender described, what the decoder makes up, or silence. */
static void make_up(struct receiver *receiver, unsigned ms, const struct jitterbuffer_frame *next,
		    int16_t *scratch)
{
	unsigned count = receiver->codec_rate / 1000 * ms;
	int16_t *pcm = receiver->resampler.speex ? scratch : tail(receiver);

	if (receiver->described)
		noise_make(&receiver->noise, pcm, count);
	else if (receiver->dtmf.active || (!receiver->quiet && receiver->starving >= IDLE_MS))
		memset(pcm, 0, count * sizeof(*pcm));
	else if (decoder_conceal(receiver->decoder, next ? next->payload : NULL, next ? next->length : 0, pcm,
				 count))
		receiver->counts.recovered++;
	enqueue(receiver, pcm, count);
}

/* Whole tens of milliseconds, for decoders make up nothing shorter; at least ten, at most 60. */
static unsigned whole_ms(const struct receiver *receiver, uint32_t ticks)
{
	uint32_t ms = ticks / (receiver->clock_rate / 1000) / 10 * 10;

	return ms < 10 ? 10 : ms > 60 ? 60 : ms;
}

static void play(struct receiver *receiver, enum jitterbuffer_answer answer,
		 const struct jitterbuffer_frame *frame, unsigned count, int16_t *scratch)
{
	unsigned per_ms = receiver->settings.rate / 1000, wanted = count - receiver->queued, ms;

	switch (answer) {
	case JITTERBUFFER_FRAME:
		if (frame->kind == JITTERBUFFER_NOISE)
			play_noise(receiver, frame);
		else
			play_sound(receiver, frame, count * 1000 / per_ms, scratch);
		break;
	case JITTERBUFFER_LOST:
		ms = whole_ms(receiver, frame->ticks);
		jitterbuffer_advance(receiver->jitter, ms * (receiver->clock_rate / 1000));
		make_up(receiver, ms, frame, scratch);
		receiver->counts.concealed += ms;
		break;
	case JITTERBUFFER_GAP:
		ms = whole_ms(receiver, frame->ticks);
		jitterbuffer_advance(receiver->jitter, ms * (receiver->clock_rate / 1000));
		make_up(receiver, ms, NULL, scratch);
		receiver->counts.silent += ms;
		break;
	default:
		ms = (wanted + 10 * per_ms - 1) / (10 * per_ms) * 10;
		make_up(receiver, ms, NULL, scratch);
		receiver->starving += receiver->starving < IDLE_MS ? ms : 0;
		receiver->counts.silent += receiver->quiet ? ms : 0;
	}
}

static void play_next(struct receiver *receiver, uint64_t now, unsigned count, int16_t *scratch)
{
	unsigned per_ms = receiver->settings.rate / 1000;
	uint64_t ahead = receiver->queued ? (uint64_t)receiver->queued * 1000000 / per_ms : 0;
	struct jitterbuffer_frame frame;
	enum jitterbuffer_answer answer = jitterbuffer_get(receiver->jitter, now + ahead, &frame);

	play(receiver, answer, &frame, count, scratch);
}

static void drop_taken(struct receiver *receiver)
{
	receiver->queued -= receiver->taken;
	if (receiver->queued)
		memmove(receiver->queue, receiver->queue + receiver->taken,
			receiver->queued * sizeof(*receiver->queue));
	receiver->taken = 0;
}

static enum receiver_state pull(struct receiver *receiver, int16_t **pcm, unsigned count, uint64_t now,
				int16_t *scratch)
{
	while (receiver->queued < count)
		play_next(receiver, now, count, scratch);
	*pcm = receiver->queue;
	receiver->taken = count;
	if (receiver->settings.listen)
		tone_detect(&receiver->tones, *pcm, count);
	if (receiver->quiet)
		return RECEIVER_SILENT;
	return receiver->starving >= IDLE_MS ? RECEIVER_IDLE : RECEIVER_SOUND;
}

enum receiver_state receiver_pull(struct receiver *receiver, int16_t **pcm, unsigned count, uint64_t now)
{
	int16_t scratch[CODEC_SAMPLES_MOST];

	drop_taken(receiver);
	return pull(receiver, pcm, count, now, scratch);
}

/* Bytes of the packet in the encoder's codec; 0: it is not as long as what is wanted, or not in time. */
static size_t translate(struct receiver *receiver, const struct encoder *encoder, uint8_t *payload,
			const struct jitterbuffer_frame *frame, unsigned count)
{
	int pulled_us = (int)(count * 1000 / (receiver->settings.rate / 1000));
	int length;

	if (frame->kind != JITTERBUFFER_SOUND || frame->behind_us > pulled_us + LATE_US ||
	    frame->behind_us < -EARLY_US ||
	    decoder_duration(receiver->decoder, frame->payload, frame->length) != (int)count)
		return 0;
	length = decoder_translate(receiver->decoder, encoder, frame->payload, frame->length, payload,
				   CODEC_PAYLOAD_MOST);
	if (length)
		note_played(receiver, frame, count);
	return (size_t)length;
}

enum receiver_state receiver_pull_for(struct receiver *receiver, const struct encoder *encoder,
				      uint8_t *payload, size_t *length, int16_t **pcm, unsigned count,
				      uint64_t now)
{
	int16_t scratch[CODEC_SAMPLES_MOST];
	struct jitterbuffer_frame frame;
	enum jitterbuffer_answer answer;

	*length = 0;
	drop_taken(receiver);
	if (!receiver->queued) {
		answer = jitterbuffer_get(receiver->jitter, now, &frame);
		if (answer == JITTERBUFFER_FRAME)
			*length = translate(receiver, encoder, payload, &frame, count);
		if (*length)
			return RECEIVER_SOUND;
		play(receiver, answer, &frame, count, scratch);
	}
	return pull(receiver, pcm, count, now, scratch);
}

uint32_t receiver_digit_ms(const struct receiver *receiver, const struct dtmf_receiver *digit)
{
	uint32_t rate = receiver->settings.event_rate ? receiver->settings.event_rate : receiver->clock_rate;

	return dtmf_duration(digit) / (rate / 1000);
}
