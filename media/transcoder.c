/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "transcoder.h"

#include <string.h>
#include <time.h>

#include "rtp.h"

#define ALIGN	      16
#define MILLISECOND   1000000ULL
#define STEP_NS	      (5 * MILLISECOND) /* streams begin at a whole number of these, so that they go together */
#define CATCH_UP_NS   (100 * MILLISECOND) /* later than this, what was missed is not made up for */
#define TONE_VOLUME   10		  /* -dBm0 of a digit that came without a volume */
#define TIMED_EVERY   64		  /* reading the clock costs half of what G.711 does */
#define SHORTEST_TONE 40		  /* ms: what the detector takes to hear it is added */

static size_t rounded(size_t bytes)
{
	return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* The receiver gives sound of the rate that the sender's codec takes. */
static int fits(const struct transcoder_settings *settings)
{
	struct codec_facts facts;

	if (codec_look_up(settings->sender.number, &settings->sender.codec, &facts))
		return 0;
	return facts.rate == settings->receiver.rate &&
	       codec_ptime(settings->sender.number, settings->sender.ptime);
}

size_t transcoder_bytes(const struct transcoder_settings *settings)
{
	size_t receiver = receiver_bytes(&settings->receiver), sender = sender_bytes(&settings->sender);

	return fits(settings) && receiver && sender
		       ? rounded(sizeof(struct transcoder)) + rounded(receiver) + rounded(sender)
		       : 0;
}

struct transcoder *transcoder_open(void *memory, const struct transcoder_settings *settings, uint64_t now)
{
	struct transcoder *transcoder = memory;
	uint8_t *parts = (uint8_t *)memory + rounded(sizeof(*transcoder));

	if (!transcoder_bytes(settings))
		return NULL;
	memset(transcoder, 0, sizeof(*transcoder));
	transcoder->settings = *settings;
	transcoder->next = now;
	transcoder->tone = TONE_NONE;
	transcoder->translates =
		(uint8_t)codec_translates(settings->receiver.number, settings->sender.number);
	transcoder->receiver = receiver_open(parts, &settings->receiver);
	if (!transcoder->receiver)
		return NULL;
	transcoder->sender =
		sender_open(parts + rounded(receiver_bytes(&settings->receiver)), &settings->sender);
	if (transcoder->sender) {
		receiver_pulls(transcoder->receiver, sender_samples(transcoder->sender));
		return transcoder;
	}
	receiver_close(transcoder->receiver);
	return NULL;
}

void transcoder_close(struct transcoder *transcoder)
{
	clip_close(&transcoder->clip);
	sender_close(transcoder->sender);
	receiver_close(transcoder->receiver);
}

static int same_codec(const struct codec_settings *one, const struct codec_settings *other)
{
	return !memcmp(one, other, sizeof(*one));
}

int transcoder_change(struct transcoder *transcoder, const struct transcoder_settings *settings)
{
	struct receiver_settings *receiver = &transcoder->receiver->settings;
	struct sender_settings *sender = &transcoder->sender->settings;

	if (receiver->number != settings->receiver.number || receiver->rate != settings->receiver.rate ||
	    receiver->listen != settings->receiver.listen || sender->number != settings->sender.number ||
	    sender->ptime != settings->sender.ptime ||
	    !same_codec(&receiver->codec, &settings->receiver.codec) ||
	    !same_codec(&sender->codec, &settings->sender.codec))
		return -1;
	transcoder->settings.digits = settings->digits;
	transcoder->settings.mute = settings->mute;
	transcoder->settings.fill = settings->fill;
	transcoder->settings.cover = settings->cover;
	receiver->payload_type = settings->receiver.payload_type;
	receiver->event_type = settings->receiver.event_type;
	receiver->event_rate = settings->receiver.event_rate;
	receiver->noise_type = settings->receiver.noise_type;
	sender->payload_type = settings->sender.payload_type;
	sender->event_type = settings->sender.event_type;
	sender->event_rate = settings->sender.event_rate;
	sender->noise_type = settings->sender.noise_type;
	return 0;
}

static void tell_digit(const struct transcoder_ear *ear, unsigned digit, uint32_t ms, int in_band)
{
	struct transcoder_news news = {
		.kind = TRANSCODER_DIGIT,
		.duration = ms,
		.digit = (uint8_t)digit,
		.in_band = (uint8_t)in_band,
	};

	ear->tell(ear->context, &news);
}

static int sends_digits(const struct transcoder *transcoder)
{
	return transcoder->settings.digits != DTMF_SILENCE && transcoder->settings.digits != DTMF_TONE;
}

static void begin_digit(struct transcoder *transcoder, unsigned digit, unsigned volume)
{
	const struct transcoder_settings *settings = &transcoder->settings;
	uint32_t seed = transcoder->receiver->dtmf.timestamp + (uint32_t)transcoder->ticks;
	struct dtmf_digit sent = {.event = (uint8_t)digit,
				  .volume = (uint8_t)(volume ? volume : TONE_VOLUME)};

	if (!sends_digits(transcoder) || settings->mute)
		return;
	if (settings->digits != DTMF_PASS) {
		sent.event = dtmf_covered(settings->digits, &settings->cover, seed);
		sent.volume = settings->cover.volume;
	}
	dtmf_queue(&transcoder->sender->digits, &sent);
}

static void end_digit(struct transcoder *transcoder)
{
	if (sends_digits(transcoder))
		dtmf_release(&transcoder->sender->digits);
}

/* A digit of which only the last report came is passed on as one that begins and ends at once. */
static void note_event(struct transcoder *transcoder, enum dtmf_news news, int known,
		       const struct transcoder_ear *ear)
{
	const struct dtmf_receiver *heard = &transcoder->receiver->dtmf;

	if (news == DTMF_BEGUN || (news == DTMF_ENDED && !known))
		begin_digit(transcoder, heard->now.event, heard->now.volume);
	if (news != DTMF_ENDED)
		return;
	end_digit(transcoder);
	tell_digit(ear, heard->now.event, receiver_digit_ms(transcoder->receiver, heard), 0);
}

void transcoder_put(struct transcoder *transcoder, const uint8_t *data, size_t length, uint64_t now,
		    const struct transcoder_ear *ear)
{
	const struct dtmf_receiver *heard = &transcoder->receiver->dtmf;
	struct dtmf_receiver before = *heard;
	enum dtmf_news news = receiver_put(transcoder->receiver, data, length, now);
	int cut_short = before.active && heard->timestamp != before.timestamp && news != DTMF_GOES_ON;

	if (cut_short) {
		end_digit(transcoder);
		tell_digit(ear, before.now.event, receiver_digit_ms(transcoder->receiver, &before), 0);
	}
	note_event(transcoder, news, before.active && !cut_short, ear);
}

/* A tone in the sound becomes a digit, and is taken out of the sound. */
static void note_tone(struct transcoder *transcoder, int16_t *pcm, unsigned count, uint64_t now,
		      const struct transcoder_ear *ear)
{
	int tone = transcoder->receiver->tones.digit, before = transcoder->tone;

	if (tone != TONE_NONE)
		memset(pcm, 0, count * sizeof(*pcm));
	if (tone == before)
		return;
	if (before != TONE_NONE) {
		uint32_t ms = (uint32_t)((now - transcoder->tone_from) / MILLISECOND);

		end_digit(transcoder);
		tell_digit(ear, (unsigned)before, ms > SHORTEST_TONE ? ms : SHORTEST_TONE, 1);
	}
	if (tone != TONE_NONE)
		begin_digit(transcoder, (unsigned)tone, TONE_VOLUME);
	transcoder->tone = tone;
	transcoder->tone_from = now;
}

static int16_t clipped(int sample)
{
	return (int16_t)(sample > INT16_MAX ? INT16_MAX : sample < INT16_MIN ? INT16_MIN : sample);
}

static void play(struct transcoder *transcoder, int16_t *pcm, unsigned count,
		 const struct transcoder_ear *ear)
{
	struct transcoder_news news = {.kind = TRANSCODER_PLAYED, .number = transcoder->clip.number};
	int16_t played[CODEC_SAMPLES_MOST];
	int goes_on = clip_play(&transcoder->clip, transcoder->mixed ? played : pcm, count);

	for (unsigned i = 0; transcoder->mixed && i < count; i++)
		pcm[i] = clipped(pcm[i] + played[i]);
	if (goes_on)
		return;
	clip_close(&transcoder->clip);
	ear->tell(ear->context, &news);
}

/* Whether nobody asks for the sound between the two payloads. */
static int may_translate(const struct transcoder *transcoder)
{
	return transcoder->translates && !transcoder->settings.mute &&
	       !transcoder->settings.receiver.listen && !transcoder->clip.map &&
	       !transcoder->receiver->dtmf.active && sender_takes_payload(transcoder->sender);
}

/* Whether a tone is heard now in place of a digit; if so it is written. */
static int covers(struct transcoder *transcoder, int16_t *pcm, unsigned count)
{
	const struct dtmf_cover *cover = &transcoder->settings.cover;
	int digit = transcoder->receiver->dtmf.active || transcoder->tone != TONE_NONE;

	if (transcoder->settings.digits != DTMF_TONE || transcoder->settings.mute || transcoder->clip.map ||
	    !digit) {
		transcoder->cover.on = 0;
		return 0;
	}
	if (!transcoder->cover.on)
		tone_start_sine(&transcoder->cover, cover->frequency, transcoder->sender->rate,
				-(float)cover->volume);
	tone_make(&transcoder->cover, pcm, count);
	return 1;
}

static void send_next(struct transcoder *transcoder, uint64_t now, const struct packet_sink *sink,
		      const struct transcoder_ear *ear)
{
	unsigned count = sender_samples(transcoder->sender);
	uint8_t *packet = may_translate(transcoder) ? sink->room(sink->context) : NULL;
	enum receiver_state state;
	size_t length = 0;
	int16_t *pcm;

	if (packet)
		state = receiver_pull_for(transcoder->receiver, transcoder->sender->encoder,
					  packet + RTP_FIXED, &length, &pcm, count, now);
	else
		state = receiver_pull(transcoder->receiver, &pcm, count, now);
	if (length) {
		sender_forward(transcoder->sender, packet, length, sink);
		return;
	}
	note_event(transcoder, dtmf_expire(&transcoder->receiver->dtmf, now), 1, ear);
	if (transcoder->settings.receiver.listen)
		note_tone(transcoder, pcm, count, now, ear);
	if (transcoder->settings.mute)
		memset(pcm, 0, count * sizeof(*pcm));
	if (transcoder->clip.map)
		play(transcoder, pcm, count, ear);
	else if (!covers(transcoder, pcm, count) && state == RECEIVER_IDLE && !transcoder->settings.fill) {
		sender_pass(transcoder->sender, sink);
		return;
	}
	sender_push(transcoder->sender, pcm, sink);
}

static uint64_t monotonic(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

static void send_timed(struct transcoder *transcoder, const struct packet_sink *sink,
		       const struct transcoder_ear *ear)
{
	uint64_t began = monotonic();

	send_next(transcoder, transcoder->next, sink, ear);
	transcoder->codec_ns += (monotonic() - began) * TIMED_EVERY;
}

/* Until a stream begins nothing is sent, and its first packet waits for no more than a few ms. */
static int is_waiting(const struct transcoder *transcoder)
{
	const struct dtmf_sender *digits = &transcoder->sender->digits;

	return !transcoder->receiver->jitter->playing && !transcoder->receiver->counts.played &&
	       !transcoder->clip.map && !digits->active && !digits->count && !transcoder->settings.fill;
}

static int may_begin(const struct transcoder *transcoder, uint64_t now)
{
	const struct jitterbuffer *jitter = transcoder->receiver->jitter;

	return jitter->known && delay_due(&jitter->delay, jitter->next_ticks) <= (int64_t)(now / 1000);
}

/* What goes at the same moment as others finds the worker awake. */
static uint64_t whole_steps(uint64_t time)
{
	return time / STEP_NS * STEP_NS;
}

uint64_t transcoder_tick(struct transcoder *transcoder, uint64_t now, const struct packet_sink *sink,
			 const struct transcoder_ear *ear)
{
	uint64_t packet = transcoder->sender->ptime * MILLISECOND;

	if (is_waiting(transcoder) && !may_begin(transcoder, now)) {
		transcoder->next = whole_steps(now) + STEP_NS;
		return transcoder->next;
	}
	if (now > transcoder->next + CATCH_UP_NS)
		transcoder->next = whole_steps(now);
	for (; transcoder->next <= now; transcoder->next += packet)
		if (transcoder->ticks++ % TIMED_EVERY)
			send_next(transcoder, transcoder->next, sink, ear);
		else
			send_timed(transcoder, sink, ear);
	return transcoder->next;
}

int transcoder_play(struct transcoder *transcoder, const char *path, uint32_t times, int mixed)
{
	struct clip clip;
	int error = clip_open(&clip, path, transcoder->sender->rate, times);

	if (error)
		return error;
	clip_close(&transcoder->clip);
	transcoder->clip = clip;
	transcoder->mixed = (uint8_t)(mixed != 0);
	return 0;
}

void transcoder_stop(struct transcoder *transcoder)
{
	clip_close(&transcoder->clip);
}

int transcoder_digit(struct transcoder *transcoder, const struct dtmf_digit *digit)
{
	return dtmf_queue(&transcoder->sender->digits, digit);
}

void transcoder_report(const struct transcoder *transcoder, struct transcoder_report *report)
{
	*report = (struct transcoder_report){
		.jitter = transcoder->receiver->jitter->counts,
		.receiver = transcoder->receiver->counts,
		.sender = transcoder->sender->counts,
		.codec_ns = transcoder->codec_ns,
		.target_ms = (uint32_t)(transcoder->receiver->jitter->delay.target / 1000),
	};
}
