/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "inserter.h"

#include <stdbool.h>
#include <string.h>

#include "rtp.h"

#define ALIGN	    16
#define MILLISECOND 1000000ULL
#define NEVER	    (~0ULL)
#define LIVE_NS	    (100 * MILLISECOND) /* a leg that was heard within it is sending */
#define PATIENCE_NS (80 * MILLISECOND)	/* three packets of most senders, and some jitter */
#define GLANCE_NS   (5 * MILLISECOND)
#define LATE_NS	    (200 * MILLISECOND) /* what is later no listener waits for: it is left out */
#define BEND	    64			/* part of a packet time by which the pace follows the leg's */
#define BEHIND	    128 /* so far behind what was used up, a number is no longer taken for used up */
#define MADE_UP	    3	/* packets at the end, in place of what the leg has sent ahead of us */

static size_t rounded(size_t bytes)
{
	return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

size_t inserter_bytes(const struct inserter_settings *settings)
{
	size_t sender = sender_bytes(&settings->sender);

	return sender && codec_ptime(settings->sender.number, settings->sender.ptime)
		       ? rounded(sizeof(struct inserter)) + rounded(sender)
		       : 0;
}

struct inserter *inserter_open(void *memory, const struct inserter_settings *settings)
{
	struct inserter *inserter = memory;

	if (!inserter_bytes(settings))
		return NULL;
	memset(inserter, 0, sizeof(*inserter));
	inserter->settings = *settings;
	inserter->own_timestamp = settings->sender.timestamp;
	inserter->own_sequence = settings->sender.sequence;
	inserter->sender = sender_open((uint8_t *)memory + rounded(sizeof(*inserter)), &settings->sender);
	return inserter->sender ? inserter : NULL;
}

void inserter_close(struct inserter *inserter)
{
	clip_close(&inserter->clip);
	sender_close(inserter->sender);
}

int inserter_change(struct inserter *inserter, const struct inserter_settings *settings)
{
	struct sender_settings *now = &inserter->settings.sender;
	const struct sender_settings *wanted = &settings->sender;

	if (now->number != wanted->number || memcmp(&now->codec, &wanted->codec, sizeof(now->codec)))
		return -1;
	now->ptime = wanted->ptime;
	now->payload_type = inserter->sender->settings.payload_type = wanted->payload_type;
	now->event_type = inserter->sender->settings.event_type = wanted->event_type;
	now->event_rate = inserter->sender->settings.event_rate = wanted->event_rate;
	inserter->settings.block = settings->block;
	inserter->settings.mute = settings->mute;
	inserter->settings.deaf = settings->deaf;
	inserter->settings.own = settings->own;
	inserter->settings.cover = settings->cover;
	return 0;
}

static uint32_t ticks_of_ms(const struct inserter *inserter, uint32_t ms)
{
	return inserter->sender->clock_rate / 1000 * ms;
}

static int is_event(const struct inserter *inserter, const struct rtp_fields *rtp)
{
	return inserter->settings.sender.event_type != SENDER_NO_TYPE &&
	       rtp->payload_type == inserter->settings.sender.event_type;
}

static void note_stream(struct inserter *inserter, const struct rtp_fields *rtp)
{
	struct inserter_source *source = &inserter->source;

	if (source->known && source->ssrc == rtp->ssrc)
		return;
	*source = (struct inserter_source){
		.ssrc = rtp->ssrc,
		.sequence = (uint16_t)(rtp->sequence - 1),
		.sound = (uint16_t)(rtp->sequence - 2),
		.known = 1,
	};
	if (rtp->ssrc == inserter->settings.sender.ssrc)
		inserter->settings.sender.ssrc = ~rtp->ssrc;
}

static void note_packet(struct inserter *inserter, const struct rtp_fields *rtp, uint64_t now)
{
	struct inserter_source *source = &inserter->source;

	note_stream(inserter, rtp);
	if ((int16_t)(rtp->sequence - source->sequence) <= 0)
		return;
	source->sequence = rtp->sequence;
	source->at = now;
	if (is_event(inserter, rtp))
		return;
	if ((uint16_t)(rtp->sequence - source->sound) == 1 && rtp->timestamp - source->timestamp < 1U << 16)
		source->step = rtp->timestamp - source->timestamp;
	source->sound = rtp->sequence;
	source->timestamp = rtp->timestamp;
	source->payload_type = rtp->payload_type;
}

static void tell_digit(struct inserter *inserter, const struct dtmf_receiver *heard,
		       const struct transcoder_ear *ear)
{
	const struct sender_settings *sender = &inserter->settings.sender;
	uint32_t rate = sender->event_rate ? sender->event_rate : inserter->sender->clock_rate;
	struct transcoder_news news = {
		.kind = TRANSCODER_DIGIT,
		.duration = dtmf_duration(heard) / (rate / 1000),
		.digit = heard->now.event,
	};

	ear->tell(ear->context, &news);
}

static void note_event(struct inserter *inserter, const struct rtp_fields *rtp, uint64_t now,
		       const struct transcoder_ear *ear)
{
	struct dtmf_receiver before = inserter->dtmf;
	enum dtmf_news news;

	if (dtmf_expire(&inserter->dtmf, now) == DTMF_ENDED)
		tell_digit(inserter, &before, ear);
	if (!is_event(inserter, rtp) || inserter->settings.own) /* which is encrypted: nobody can read it */
		return;
	before = inserter->dtmf;
	news = dtmf_receive(&inserter->dtmf, rtp->timestamp, rtp->payload, rtp->length, now);
	if (before.active && inserter->dtmf.timestamp != before.timestamp && news != DTMF_GOES_ON)
		tell_digit(inserter, &before, ear);
	if (news == DTMF_ENDED)
		tell_digit(inserter, &inserter->dtmf, ear);
}

/* The packet time that the leg's steps make, 0: none that the codec can make. */
static uint32_t packet_ms(const struct inserter *inserter)
{
	uint32_t per_ms = inserter->sender->clock_rate / 1000, step = inserter->source.step;

	if (!step || step % per_ms || step / per_ms > 60 ||
	    codec_ptime(inserter->settings.sender.number, step / per_ms) != step / per_ms)
		return 0;
	return step / per_ms;
}

/* What is heard in place of a packet: silence, or of digits a tone. */
static void make_cover(struct inserter *inserter, const struct rtp_fields *rtp, int16_t *pcm)
{
	const struct dtmf_cover *cover = &inserter->settings.cover;
	unsigned count = sender_samples(inserter->sender);

	if (inserter->settings.mute || inserter->settings.block != DTMF_TONE || !is_event(inserter, rtp)) {
		memset(pcm, 0, count * sizeof(*pcm));
		return;
	}
	if (!inserter->tone.on || inserter->tone_of != rtp->timestamp)
		tone_start_sine(&inserter->tone, cover->frequency, inserter->sender->rate,
				-(float)cover->volume);
	inserter->tone_of = rtp->timestamp;
	tone_make(&inserter->tone, pcm, count);
}

/* A packet as long as the leg's, in its place, that says nothing of what that says. */
static void send_cover(struct inserter *inserter, const struct rtp_fields *rtp,
		       const struct packet_sink *sink)
{
	int16_t pcm[CODEC_SAMPLES_MOST];
	struct sender *sender = inserter->sender;
	uint32_t ms = packet_ms(inserter);
	struct inserter_source *source = &inserter->source;

	sender->ptime = ms ? ms : codec_ptime(sender->settings.number, inserter->settings.sender.ptime);
	sender->settings.ssrc = rtp->ssrc;
	sender->sequence = rtp->sequence;
	if (is_event(inserter, rtp)) {
		source->timestamp +=
			ticks_of_ms(inserter, sender->ptime) * (uint16_t)(rtp->sequence - source->sound);
		source->sound = rtp->sequence;
		sender->timestamp = source->timestamp;
	} else {
		sender->timestamp = rtp->timestamp;
	}
	sender->paused = rtp->marker;
	make_cover(inserter, rtp, pcm);
	sender_push(sender, pcm, sink);
}

/* Whether that number went out with something else in it; also of one that was overtaken on its way. */
static int is_used_up(struct inserter *inserter, const struct rtp_fields *rtp)
{
	int16_t behind = (int16_t)(inserter->ridden - rtp->sequence);

	if (rtp->ssrc != inserter->ridden_ssrc || behind < -BEHIND || behind > BEHIND)
		inserter->has_ridden = 0;
	return inserter->has_ridden && behind >= 0;
}

static void pass(struct inserter *inserter, const uint8_t *data, size_t length, const struct rtp_fields *rtp,
		 const struct packet_sink *sink)
{
	const struct inserter_settings *settings = &inserter->settings;
	uint8_t covers = is_event(inserter, rtp) ? settings->block : DTMF_PASS;
	bool other = covers == DTMF_OTHER || covers == DTMF_RANDOM;
	uint8_t *packet;

	if (settings->deaf || is_used_up(inserter, rtp))
		return;
	if (settings->mute || (covers && (!other || settings->own))) {
		if (!settings->own)
			send_cover(inserter, rtp, sink);
		return;
	}
	packet = length <= RTP_FIXED + CODEC_PAYLOAD_MOST ? sink->room(sink->context) : NULL;
	if (!packet)
		return;
	memcpy(packet, data, length);
	if (other && rtp->length)
		packet[rtp->payload - data] = dtmf_covered(covers, &settings->cover, rtp->timestamp);
	packet[1] |= (uint8_t)(inserter->mark << 7);
	inserter->mark = 0;
	sink->send(sink->context, length);
}

void inserter_put(struct inserter *inserter, const uint8_t *data, size_t length, uint64_t now,
		  const struct packet_sink *sink, const struct transcoder_ear *ear)
{
	struct rtp_fields rtp;

	if (rtp_read(data, length, &rtp))
		return;
	note_event(inserter, &rtp, now, ear);
	note_packet(inserter, &rtp, now);
	if (inserter->state == INSERTER_RIDE) {
		int16_t ahead = (int16_t)(inserter->sender->sequence - 1 - rtp.sequence);

		inserter->bend = ahead > 0 ? 1 : ahead < -1 ? -1 : 0;
	} else if (inserter->state != INSERTER_OWN) {
		pass(inserter, data, length, &rtp, sink);
	}
}

static int has_work(const struct inserter *inserter)
{
	const struct dtmf_sender *digits = &inserter->sender->digits;

	return inserter->clip.map || digits->active || digits->count;
}

static int is_live(const struct inserter *inserter, uint64_t now)
{
	return inserter->source.known && now - inserter->source.at < LIVE_NS;
}

/* Into the leg's stream: its clock has to be that of our codec, and no digit of its own under way. */
static int can_ride(const struct inserter *inserter, uint64_t now)
{
	return !inserter->settings.own && is_live(inserter, now) && packet_ms(inserter) &&
	       !inserter->dtmf.active &&
	       inserter->source.payload_type == inserter->settings.sender.payload_type;
}

/* How far its next number is that nothing has gone out by, neither the leg's nor ours. */
static uint16_t ahead_of_leg(const struct inserter *inserter)
{
	const struct inserter_source *source = &inserter->source;
	int16_t ridden = (int16_t)(inserter->ridden - source->sequence);

	if (!inserter->has_ridden || inserter->ridden_ssrc != source->ssrc || ridden < 0 || ridden > BEHIND)
		return 1;
	return (uint16_t)(ridden + 1);
}

static void begin_ride(struct inserter *inserter, uint64_t now)
{
	struct inserter_source *source = &inserter->source;
	struct sender *sender = inserter->sender;
	uint16_t ahead = ahead_of_leg(inserter), since = (uint16_t)(source->sequence + ahead - source->sound);

	sender->ptime = packet_ms(inserter);
	sender->settings.ssrc = source->ssrc;
	sender->sequence = (uint16_t)(source->sequence + ahead);
	sender->timestamp = source->timestamp + source->step * since;
	sender->paused = 0;
	inserter->state = INSERTER_RIDE;
	inserter->bend = 0;
	inserter->next = source->at + ahead * sender->ptime * MILLISECOND;
	if (inserter->next < now)
		inserter->next = now;
}

static void begin_own(struct inserter *inserter, uint64_t now)
{
	struct sender *sender = inserter->sender;
	uint64_t ended = inserter->own_at && inserter->own_at < now ? inserter->own_at : now;
	uint64_t away = (now - ended) / MILLISECOND;

	sender->ptime = codec_ptime(inserter->settings.sender.number, inserter->settings.sender.ptime);
	sender->settings.ssrc = inserter->settings.sender.ssrc;
	sender->sequence = inserter->own_sequence;
	sender->timestamp = inserter->own_timestamp + ticks_of_ms(inserter, (uint32_t)away);
	sender->paused = 1;
	inserter->state = INSERTER_OWN;
	inserter->bend = 0;
	inserter->next = now;
}

/* What the leg has sent ahead of us went nowhere: its next packet is to follow our last one all the same. */
static void make_up(struct inserter *inserter, const struct packet_sink *sink)
{
	int16_t silence[CODEC_SAMPLES_MOST] = {0};
	struct sender *sender = inserter->sender;
	int16_t missing = (int16_t)(inserter->source.sequence + 1 - sender->sequence);

	if (inserter->source.ssrc != sender->settings.ssrc || missing > MADE_UP)
		return;
	for (; missing > 0; missing--)
		sender_push(sender, silence, sink);
}

static void end(struct inserter *inserter, const struct packet_sink *sink)
{
	struct sender *sender = inserter->sender;

	if (inserter->state == INSERTER_RIDE) {
		make_up(inserter, sink);
		inserter->has_ridden = 1;
		inserter->ridden = (uint16_t)(sender->sequence - 1);
		inserter->ridden_ssrc = sender->settings.ssrc;
	} else if (inserter->state == INSERTER_OWN) {
		inserter->own_sequence = sender->sequence;
		inserter->own_timestamp = sender->timestamp;
		inserter->own_at = inserter->next;
		inserter->mark = 1;
	}
	inserter->state = INSERTER_PASS;
}

static void begin(struct inserter *inserter, uint64_t now)
{
	if (inserter->state == INSERTER_PASS) {
		inserter->state = INSERTER_WAIT;
		inserter->deadline = now + PATIENCE_NS;
	}
	if (can_ride(inserter, now))
		begin_ride(inserter, now);
	else if (now >= inserter->deadline || (inserter->source.known && !is_live(inserter, now)))
		begin_own(inserter, now);
}

static void read_clip(struct inserter *inserter, int16_t *pcm, unsigned count,
		      const struct transcoder_ear *ear)
{
	struct transcoder_news news = {.kind = TRANSCODER_PLAYED, .number = inserter->clip.number};

	if (!inserter->clip.map) {
		memset(pcm, 0, count * sizeof(*pcm));
		return;
	}
	if (clip_play(&inserter->clip, pcm, count))
		return;
	clip_close(&inserter->clip);
	ear->tell(ear->context, &news);
}

static void send_next(struct inserter *inserter, uint64_t now, const struct packet_sink *sink,
		      const struct transcoder_ear *ear)
{
	int16_t pcm[CODEC_SAMPLES_MOST];
	uint64_t packet = inserter->sender->ptime * MILLISECOND;

	if (inserter->state == INSERTER_RIDE && !is_live(inserter, now)) {
		end(inserter, sink);
		begin_own(inserter, inserter->next);
		packet = inserter->sender->ptime * MILLISECOND;
	}
	read_clip(inserter, pcm, sender_samples(inserter->sender), ear);
	sender_push(inserter->sender, pcm, sink);
	inserter->next += packet + (uint64_t)((int64_t)packet / BEND * inserter->bend);
}

/* After a pause of ours: the numbers go on as if the packets of it had been lost. */
static void skip(struct inserter *inserter, uint64_t now)
{
	uint64_t packet = inserter->sender->ptime * MILLISECOND, missed = (now - inserter->next) / packet;

	inserter->sender->sequence = (uint16_t)(inserter->sender->sequence + missed);
	inserter->sender->timestamp += (uint32_t)missed * ticks_of_ms(inserter, inserter->sender->ptime);
	inserter->next += missed * packet;
}

uint64_t inserter_tick(struct inserter *inserter, uint64_t now, const struct packet_sink *sink,
		       const struct transcoder_ear *ear)
{
	if (inserter->state < INSERTER_RIDE) {
		if (!has_work(inserter)) {
			inserter->state = INSERTER_PASS;
			return NEVER;
		}
		begin(inserter, now);
		if (inserter->state == INSERTER_WAIT)
			return now + GLANCE_NS;
	}
	if (now > inserter->next + LATE_NS)
		skip(inserter, now);
	while (inserter->next <= now && has_work(inserter))
		send_next(inserter, now, sink, ear);
	if (has_work(inserter))
		return inserter->next;
	end(inserter, sink);
	return NEVER;
}

int inserter_rides(const struct inserter *inserter)
{
	return inserter->state == INSERTER_RIDE || has_work(inserter) || ahead_of_leg(inserter) > 1;
}
