/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "recording_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <opus/opus.h>

#include "ogg.h"
#include "recorder.h"
#include "wav.h"

#define CHANNEL_BITRATE 24000
#define OPUS_RATE	48000
#define PACKET_MOST	1275

struct recording_coder {
	struct ogg ogg;
	uint8_t page[OGG_PAGE_MOST];
	OpusEncoder *opus; /* behind this */
};

/* Returns how many bytes had no room: a piece is kept whole or not at all. */
static size_t keep(struct recording_file *file, const void *bytes, size_t length)
{
	if (length > RECORDER_BUFFER - file->filled)
		return length;
	memcpy(file->bytes + file->filled, bytes, length);
	file->filled += length;
	return 0;
}

static int open_coder(struct recording_file *file)
{
	struct recording_coder *coder;
	opus_int32 skip = 0;
	size_t length;

	coder = calloc(1, sizeof(*coder) + (size_t)opus_encoder_get_size((int)file->channels));
	if (!coder)
		return ENOMEM;
	file->coder = coder;
	coder->opus = (OpusEncoder *)(coder + 1);
	if (opus_encoder_init(coder->opus, (opus_int32)file->rate, (int)file->channels,
			      OPUS_APPLICATION_VOIP) ||
	    opus_encoder_ctl(coder->opus, OPUS_SET_BITRATE((opus_int32)(CHANNEL_BITRATE * file->channels))) ||
	    opus_encoder_ctl(coder->opus, OPUS_GET_LOOKAHEAD(&skip)))
		return EINVAL;
	ogg_open(&coder->ogg, 1);
	skip *= OPUS_RATE / (opus_int32)file->rate;
	length = ogg_head(&coder->ogg, file->channels, file->rate, (unsigned)skip, coder->page);
	keep(file, coder->page, length);
	return 0;
}

int recording_file_open(struct recording_file *file, unsigned format, uint32_t rate, unsigned channels)
{
	uint8_t header[WAV_HEADER];
	int error = 0;

	*file = (struct recording_file){.channels = channels, .rate = rate, .bytes = malloc(RECORDER_BUFFER)};
	if (!file->bytes)
		return ENOMEM;
	if (format == RECORDING_OPUS) {
		error = open_coder(file);
	} else if (format == RECORDING_WAV) {
		wav_write(header, rate, channels, WAV_UNKNOWN);
		keep(file, header, sizeof(header));
	}
	if (error)
		recording_file_close(file);
	return error;
}

void recording_file_close(struct recording_file *file)
{
	free(file->bytes);
	free(file->coder);
	memset(file, 0, sizeof(*file));
}

static size_t add_packet(struct recording_file *file, const int16_t *pcm, unsigned count)
{
	struct recording_coder *coder = file->coder;
	uint8_t packet[PACKET_MOST];
	int length = opus_encode(coder->opus, pcm, (int)count, packet, PACKET_MOST);
	size_t page;

	if (length < 0)
		return 0;
	page = ogg_add(&coder->ogg, packet, (size_t)length, count * (OPUS_RATE / file->rate), coder->page);
	return page ? keep(file, coder->page, page) : 0;
}

size_t recording_file_add(struct recording_file *file, const int16_t *pcm, unsigned count)
{
	if (file->coder)
		return add_packet(file, pcm, count);
	return keep(file, pcm, count * file->channels * sizeof(*pcm));
}

size_t recording_file_end(struct recording_file *file)
{
	return file->coder ? keep(file, file->coder->page, ogg_end(&file->coder->ogg, file->coder->page)) : 0;
}

size_t recording_file_take(struct recording_file *file, uint8_t *bytes, size_t room)
{
	size_t taken = file->filled < room ? file->filled : room;

	memcpy(bytes, file->bytes, taken);
	file->filled -= taken;
	memmove(file->bytes, file->bytes + taken, file->filled);
	return taken;
}
