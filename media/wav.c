/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "wav.h"

#include <string.h>

#include "g711.h"

#define RIFF	   12 /* bytes before the first chunk */
#define CHUNK	   8  /* bytes of a chunk's header */
#define FORMAT	   16 /* bytes of a fmt chunk that have to be there */
#define EXTENSIBLE 0xfffe
#define SUBFORMAT  24 /* where the format of an extensible one is */

static uint16_t read_16(const uint8_t *data)
{
	return (uint16_t)(data[0] | data[1] << 8);
}

static uint32_t read_32(const uint8_t *data)
{
	return (uint32_t)read_16(data) | (uint32_t)read_16(data + 2) << 16;
}

static unsigned width_of(const struct wav *wav)
{
	return wav->format == WAV_LINEAR ? 2 : 1;
}

static int read_format(const uint8_t *chunk, size_t length, struct wav *wav)
{
	unsigned bits;

	if (length < FORMAT)
		return WAV_NO_FORMAT;
	wav->format = read_16(chunk);
	wav->channels = read_16(chunk + 2);
	wav->rate = read_32(chunk + 4);
	bits = read_16(chunk + 14);
	if (wav->format == EXTENSIBLE && length >= SUBFORMAT + 2)
		wav->format = read_16(chunk + SUBFORMAT);
	if (wav->format != WAV_LINEAR && wav->format != WAV_ALAW && wav->format != WAV_ULAW)
		return WAV_NOT_SUPPORTED;
	if (bits != 8 * width_of(wav) || !wav->channels || wav->channels > WAV_CHANNELS_MOST ||
	    wav->rate < 4000 || wav->rate > 192000)
		return WAV_NOT_SUPPORTED;
	return WAV_OK;
}

/* A length beyond the end, as in a file that was never finished, means: up to the end. */
static int take_data(const uint8_t *data, size_t length, struct wav *wav)
{
	unsigned frame = width_of(wav) * wav->channels;

	wav->data = data;
	wav->bytes = (uint32_t)(length / frame * frame);
	return wav->bytes ? WAV_OK : WAV_NO_DATA;
}

int wav_read(const uint8_t *file, size_t length, struct wav *wav)
{
	size_t place = RIFF;
	int status = WAV_NO_FORMAT;

	memset(wav, 0, sizeof(*wav));
	if (length < RIFF || memcmp(file, "RIFF", 4) || memcmp(file + 8, "WAVE", 4))
		return WAV_NO_RIFF;
	while (length - place >= CHUNK) {
		const uint8_t *chunk = file + place;
		size_t said = read_32(chunk + 4), there = length - place - CHUNK;
		size_t bytes = said < there ? said : there;

		if (!memcmp(chunk, "fmt ", 4)) {
			status = read_format(chunk + CHUNK, bytes, wav);
			if (status != WAV_OK)
				return status;
		} else if (!memcmp(chunk, "data", 4)) {
			return status == WAV_OK ? take_data(chunk + CHUNK, bytes, wav) : WAV_NO_FORMAT;
		}
		place += CHUNK + bytes;
		place += place < length && said % 2;
	}
	return status == WAV_OK ? WAV_NO_DATA : status;
}

static int16_t sample_at(const struct wav *wav, size_t number)
{
	const uint8_t *place = wav->data + number * width_of(wav);
	int16_t sample;

	if (wav->format == WAV_ALAW)
		g711_from_alaw(place, 1, &sample);
	else if (wav->format == WAV_ULAW)
		g711_from_ulaw(place, 1, &sample);
	else
		sample = (int16_t)read_16(place);
	return sample;
}

unsigned wav_samples(const struct wav *wav, unsigned first, int16_t *pcm, unsigned room)
{
	unsigned count = wav->bytes / width_of(wav) / wav->channels;
	unsigned wanted = first >= count ? 0 : count - first < room ? count - first : room;

	for (unsigned i = 0; i < wanted; i++) {
		int sum = 0;

		for (unsigned channel = 0; channel < wav->channels; channel++)
			sum += sample_at(wav, (size_t)(first + i) * wav->channels + channel);
		pcm[i] = (int16_t)(sum / wav->channels);
	}
	return wanted;
}

static void write_16(uint8_t *place, unsigned value)
{
	place[0] = (uint8_t)value;
	place[1] = (uint8_t)(value >> 8);
}

static void write_32(uint8_t *place, uint32_t value)
{
	write_16(place, value & 0xffff);
	write_16(place + 2, value >> 16);
}

void wav_write(uint8_t *header, uint32_t rate, unsigned channels, uint32_t bytes)
{
	memcpy(header, "RIFF....WAVEfmt ....", 20);
	write_32(header + 4, bytes > WAV_UNKNOWN - WAV_HEADER ? WAV_UNKNOWN : bytes + WAV_HEADER - CHUNK);
	write_32(header + 16, FORMAT);
	write_16(header + 20, WAV_LINEAR);
	write_16(header + 22, channels);
	write_32(header + 24, rate);
	write_32(header + 28, rate * channels * 2);
	write_16(header + 32, channels * 2);
	write_16(header + 34, 16);
	memcpy(header + 36, "data", 4);
	write_32(header + 40, bytes);
}
