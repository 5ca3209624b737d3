/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "recorder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "recording_file.h"
#include "rtp.h"

#define LAG_NS	     120000000ULL /* sound is made this much later than it came, for copies come in batches */
#define PIECE_MS     20
#define PIECE_NS     (PIECE_MS * 1000000ULL)
#define LATEST_NS    2000000000ULL /* what was missed is made up for, unless it is more than this */
#define FLOWS	     (RELAY_ADDRESSES * FLOWS_PER_ADDRESS)
#define DATAGRAM     2048
#define AT_ONCE	     4096 /* datagrams between two looks at other things */
#define NO_RECORDING 0xffff

struct leg {
	struct recording_leg settings;
	struct receiver *receiver; /* of the codec last seen; NULL: none yet */
	uint64_t concealed;	   /* by receivers that gave way */
	uint8_t payload_type;
};

struct recording {
	struct recording_settings settings;
	struct recording_counts counts;
	struct leg legs[RECORDER_LEGS];
	struct recording_file file;
	uint64_t next; /* ns: when the sound comes in that is made next */
	unsigned twin; /* slot of another one of the same name, in a ring */
	uint8_t used, paused, finished;
};

struct source {
	uint16_t slot, leg;
};

struct recorder {
	unsigned capacity;
	struct source *sources; /* by flow index */
	struct recording *recordings;
};

struct recorder *recorder_create(unsigned capacity)
{
	struct recorder *recorder = calloc(1, sizeof(*recorder));

	if (!recorder || !capacity || capacity >= NO_RECORDING)
		return recorder ? (free(recorder), NULL) : NULL;
	recorder->capacity = capacity;
	recorder->recordings = calloc(capacity, sizeof(*recorder->recordings));
	recorder->sources = malloc(FLOWS * sizeof(*recorder->sources));
	if (recorder->recordings && recorder->sources) {
		memset(recorder->sources, 0xff, FLOWS * sizeof(*recorder->sources));
		return recorder;
	}
	free(recorder->recordings);
	free(recorder->sources);
	free(recorder);
	return NULL;
}

void recorder_destroy(struct recorder *recorder)
{
	for (unsigned slot = 0; slot < recorder->capacity; slot++)
		recorder_release(recorder, (int)slot);
	free(recorder->recordings);
	free(recorder->sources);
	free(recorder);
}

static struct recording *recording_at(const struct recorder *recorder, int slot)
{
	if (slot < 0 || (unsigned)slot >= recorder->capacity || !recorder->recordings[slot].used)
		return NULL;
	return &recorder->recordings[slot];
}

static int find(const struct recorder *recorder, const uint8_t *name)
{
	for (unsigned slot = 0; slot < recorder->capacity; slot++)
		if (recorder->recordings[slot].used &&
		    !memcmp(recorder->recordings[slot].settings.name, name, TAP_NAME))
			return (int)slot;
	return -ENOENT;
}

static int is_valid(const struct recording_settings *settings)
{
	for (unsigned leg = 0; leg < RECORDER_LEGS; leg++) {
		if (settings->legs[leg].count > RECORDER_CODECS)
			return 0;
		for (unsigned i = 0; i < settings->legs[leg].count; i++)
			if (settings->legs[leg].numbers[i] >= CODECS)
				return 0;
	}
	return settings->layout <= RECORDING_SECOND && settings->format <= RECORDING_PCM &&
	       (settings->rate == 8000 || settings->rate == 16000 || settings->rate == 48000);
}

int recorder_open(struct recorder *recorder, const struct recording_settings *settings, uint64_t now)
{
	unsigned slot = 0;
	struct recording *recording;
	int error, same;

	if (!is_valid(settings))
		return -EINVAL;
	same = find(recorder, settings->name);
	while (slot < recorder->capacity && recorder->recordings[slot].used)
		slot++;
	if (slot == recorder->capacity)
		return -ENOSPC;
	recording = &recorder->recordings[slot];
	memset(recording, 0, sizeof(*recording));
	recording->settings = *settings;
	recording->next = now;
	for (unsigned leg = 0; leg < RECORDER_LEGS; leg++)
		recording->legs[leg].settings = settings->legs[leg];
	error = recording_file_open(&recording->file, settings->format, settings->rate,
				    settings->layout == RECORDING_STEREO ? 2 : 1);
	if (error)
		return -error;
	recording->used = 1;
	recording->twin = slot;
	if (same >= 0) {
		recording->twin = recorder->recordings[same].twin;
		recorder->recordings[same].twin = slot;
	}
	return (int)slot;
}

static void close_receiver(struct leg *leg)
{
	if (!leg->receiver)
		return;
	leg->concealed += leg->receiver->counts.concealed;
	receiver_close(leg->receiver);
	free(leg->receiver);
	leg->receiver = NULL;
}

int recorder_change(struct recorder *recorder, int slot, const struct recording_settings *settings)
{
	struct recording *recording = recording_at(recorder, slot);

	if (!recording || !is_valid(settings))
		return -EINVAL;
	for (unsigned i = 0; i < RECORDER_LEGS; i++) {
		struct leg *leg = &recording->legs[i];

		if (!memcmp(&leg->settings, &settings->legs[i], sizeof(leg->settings)))
			continue;
		close_receiver(leg);
		leg->settings = settings->legs[i];
	}
	return 0;
}

int recorder_pause(struct recorder *recorder, int slot, int paused)
{
	struct recording *recording = recording_at(recorder, slot);

	if (!recording)
		return -EINVAL;
	recording->paused = paused != 0;
	return 0;
}

int recorder_source(struct recorder *recorder, uint32_t flow, int slot, unsigned leg)
{
	if (flow >= FLOWS || leg >= RECORDER_LEGS || (slot >= 0 && !recording_at(recorder, slot)))
		return -EINVAL;
	recorder->sources[flow] = (struct source){slot < 0 ? NO_RECORDING : (uint16_t)slot, (uint16_t)leg};
	return 0;
}

static struct receiver *open_receiver(const struct recording *recording, const struct leg *leg,
				      unsigned place)
{
	struct receiver_settings settings = {
		.rate = recording->settings.rate,
		.number = leg->settings.numbers[place],
		.payload_type = leg->settings.types[place],
		.event_type = leg->settings.event_type,
		.noise_type = leg->settings.noise_type,
	};
	struct receiver *receiver;
	void *memory;

	if (settings.number == CODEC_OPUS)
		settings.codec.rate = recording->settings.rate;
	memory = aligned_alloc(64, (receiver_bytes(&settings) + 63) / 64 * 64);
	receiver = memory ? receiver_open(memory, &settings) : NULL;
	if (memory && !receiver)
		free(memory);
	return receiver;
}

/* A leg may change its codec at any packet, among those that it named. */
static struct receiver *receiver_for(const struct recording *recording, struct leg *leg, uint8_t payload_type)
{
	unsigned place = 0;

	if (leg->receiver && (payload_type == leg->payload_type || payload_type == leg->settings.event_type ||
			      payload_type == leg->settings.noise_type))
		return leg->receiver;
	while (place < leg->settings.count && leg->settings.types[place] != payload_type)
		place++;
	if (place == leg->settings.count)
		return NULL;
	close_receiver(leg);
	leg->payload_type = payload_type;
	leg->receiver = open_receiver(recording, leg, place);
	return leg->receiver;
}

static void put(struct recording *recording, unsigned leg, const uint8_t *data, size_t length, uint64_t time)
{
	struct receiver *receiver;
	struct rtp_fields fields;

	if (leg >= RECORDER_LEGS || recording->finished || rtp_read(data, length, &fields))
		return;
	receiver = receiver_for(recording, &recording->legs[leg], fields.payload_type);
	recording->counts.packets++;
	if (receiver)
		receiver_put(receiver, data, length, time);
	else
		recording->counts.unknown++;
}

/* To all that are made from the same as this one. */
static void put_all(struct recorder *recorder, unsigned slot, unsigned leg, const uint8_t *data,
		    size_t length, uint64_t time)
{
	unsigned each = slot;

	do {
		put(&recorder->recordings[each], leg, data, length, time);
		each = recorder->recordings[each].twin;
	} while (each != slot);
}

int recorder_receive(struct recorder *recorder, int socket)
{
	struct tap_header header;
	uint8_t data[DATAGRAM];
	struct iovec parts[] = {{&header, sizeof(header)}, {data, sizeof(data)}};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
	int taken = 0;

	for (; taken < AT_ONCE; taken++) {
		ssize_t length = recvmsg(socket, &message, MSG_DONTWAIT);
		int slot;

		if (length < 0)
			break;
		if ((size_t)length < sizeof(header) || header.length != (size_t)length - sizeof(header))
			continue;
		slot = find(recorder, header.name);
		if (slot >= 0)
			put_all(recorder, (unsigned)slot, header.leg, data, header.length, header.time);
	}
	return taken;
}

void recorder_mirror(struct recorder *recorder, const struct copy *copies, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		const struct copy *copy = &copies[i];
		struct source source = {NO_RECORDING, 0};

		if (copy->flow < FLOWS)
			source = recorder->sources[copy->flow];
		if (source.slot == NO_RECORDING || copy->kind != COPY_PAYLOAD ||
		    copy->captured != copy->length)
			continue;
		if (recorder->recordings[source.slot].used)
			put_all(recorder, source.slot, source.leg, copy->bytes, copy->captured, copy->time);
	}
}

static int16_t clipped(int sample)
{
	return (int16_t)(sample > INT16_MAX ? INT16_MAX : sample < INT16_MIN ? INT16_MIN : sample);
}

static void pull(struct leg *leg, int16_t *pcm, unsigned count, uint64_t now)
{
	int16_t *pulled;

	if (leg->receiver && receiver_pull(leg->receiver, &pulled, count, now) != RECEIVER_IDLE)
		memcpy(pcm, pulled, count * sizeof(*pcm));
	else
		memset(pcm, 0, count * sizeof(*pcm));
}

static void lay_out(const struct recording *recording, const int16_t *first, const int16_t *second,
		    unsigned count, int16_t *pcm)
{
	for (unsigned i = 0; i < count; i++) {
		switch (recording->settings.layout) {
		case RECORDING_STEREO:
			pcm[2 * i] = first[i];
			pcm[2 * i + 1] = second[i];
			break;
		case RECORDING_MIXED:
			pcm[i] = clipped(first[i] + second[i]);
			break;
		default:
			pcm[i] = recording->settings.layout == RECORDING_FIRST ? first[i] : second[i];
		}
	}
}

static void make_piece(struct recording *recording)
{
	unsigned count = recording->settings.rate / 1000 * PIECE_MS;
	int16_t first[960], second[960], pcm[1920];

	pull(&recording->legs[0], first, count, recording->next);
	pull(&recording->legs[1], second, count, recording->next);
	recording->next += PIECE_NS;
	if (recording->paused)
		return;
	lay_out(recording, first, second, count, pcm);
	recording->counts.milliseconds += PIECE_MS;
	recording->counts.left_out += recording_file_add(&recording->file, pcm, count);
}

static void make_sound(struct recording *recording, uint64_t until)
{
	if (recording->finished)
		return;
	if (until > recording->next + LATEST_NS)
		recording->next = until - LATEST_NS;
	while (recording->next + PIECE_NS <= until)
		make_piece(recording);
}

void recorder_tick(struct recorder *recorder, uint64_t now)
{
	for (unsigned slot = 0; slot < recorder->capacity; slot++)
		if (recorder->recordings[slot].used && now > LAG_NS)
			make_sound(&recorder->recordings[slot], now - LAG_NS);
}

size_t recorder_take(struct recorder *recorder, int slot, uint8_t *bytes, size_t room)
{
	struct recording *recording = recording_at(recorder, slot);

	return recording ? recording_file_take(&recording->file, bytes, room) : 0;
}

int recorder_count(const struct recorder *recorder, int slot, struct recording_counts *counts)
{
	const struct recording *recording = recording_at(recorder, slot);

	if (!recording)
		return -EINVAL;
	*counts = recording->counts;
	for (unsigned i = 0; i < RECORDER_LEGS; i++) {
		const struct leg *leg = &recording->legs[i];

		counts->concealed += leg->concealed + (leg->receiver ? leg->receiver->counts.concealed : 0);
	}
	return 0;
}

int recorder_finish(struct recorder *recorder, int slot, uint64_t now)
{
	struct recording *recording = recording_at(recorder, slot);

	if (!recording)
		return -EINVAL;
	make_sound(recording, now);
	if (!recording->finished)
		recording->counts.left_out += recording_file_end(&recording->file);
	recording->finished = 1;
	return 0;
}

/* Takes a recording out of its ring; another one of it, or NO_RECORDING. */
static uint16_t leave(struct recorder *recorder, unsigned slot)
{
	unsigned before = slot;

	while (recorder->recordings[before].twin != slot)
		before = recorder->recordings[before].twin;
	recorder->recordings[before].twin = recorder->recordings[slot].twin;
	return before == slot ? NO_RECORDING : (uint16_t)before;
}

void recorder_release(struct recorder *recorder, int slot)
{
	struct recording *recording = recording_at(recorder, slot);
	uint16_t other;

	if (!recording)
		return;
	other = leave(recorder, (unsigned)slot);
	for (unsigned i = 0; i < RECORDER_LEGS; i++)
		close_receiver(&recording->legs[i]);
	for (unsigned flow = 0; flow < FLOWS; flow++)
		if (recorder->sources[flow].slot == slot)
			recorder->sources[flow].slot = other;
	recording_file_close(&recording->file);
	recording->used = 0;
}
