/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ogg.h"

#include <string.h>

#define HEADER	   27
#define FIRST	   2
#define LAST	   4
#define POLYNOMIAL 0x04c11db7u
#define CHECKSUM   22 /* where it is in the header */
#define VENDOR	   "voxdp"

static uint32_t table[256];

__attribute__((constructor)) static void fill_table(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t rest = i << 24;

		for (unsigned bit = 0; bit < 8; bit++)
			rest = rest & 0x80000000u ? rest << 1 ^ POLYNOMIAL : rest << 1;
		table[i] = rest;
	}
}

static uint32_t checksum(const uint8_t *data, size_t length)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < length; i++)
		sum = sum << 8 ^ table[(sum >> 24 ^ data[i]) & 255];
	return sum;
}

static void write_number(uint8_t *place, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		place[i] = (uint8_t)(value >> 8 * i);
}

void ogg_open(struct ogg *ogg, uint32_t serial)
{
	memset(ogg, 0, offsetof(struct ogg, lacing));
	ogg->serial = serial;
}

static size_t write_page(struct ogg *ogg, unsigned flags, uint8_t *out)
{
	size_t length = HEADER + ogg->lace_count + ogg->filled;

	memcpy(out, "OggS", 5);
	out[5] = (uint8_t)flags;
	write_number(out + 6, ogg->granule, 8);
	write_number(out + 14, ogg->serial, 4);
	write_number(out + 18, ogg->pages++, 4);
	write_number(out + CHECKSUM, 0, 4);
	out[26] = (uint8_t)ogg->lace_count;
	memcpy(out + HEADER, ogg->lacing, ogg->lace_count);
	memcpy(out + HEADER + ogg->lace_count, ogg->body, ogg->filled);
	write_number(out + CHECKSUM, checksum(out, length), 4);
	ogg->lace_count = ogg->filled = ogg->packets = 0;
	return length;
}

static void put(struct ogg *ogg, const uint8_t *packet, size_t length)
{
	memcpy(ogg->body + ogg->filled, packet, length);
	ogg->filled += (uint32_t)length;
	ogg->packets++;
	for (; length >= 255; length -= 255)
		ogg->lacing[ogg->lace_count++] = 255;
	ogg->lacing[ogg->lace_count++] = (uint8_t)length;
}

size_t ogg_head(struct ogg *ogg, unsigned channels, uint32_t rate, unsigned skip, uint8_t *out)
{
	uint8_t head[19] = "OpusHead\1", tags[8 + 4 + sizeof(VENDOR) - 1 + 4] = "OpusTags";
	size_t length;

	head[9] = (uint8_t)channels;
	write_number(head + 10, skip, 2);
	write_number(head + 12, rate, 4);
	write_number(head + 16, 0, 3);
	write_number(tags + 8, sizeof(VENDOR) - 1, 4);
	memcpy(tags + 12, VENDOR, sizeof(VENDOR) - 1);
	put(ogg, head, sizeof(head));
	length = write_page(ogg, FIRST, out);
	put(ogg, tags, sizeof(tags));
	return length + write_page(ogg, 0, out + length);
}

size_t ogg_add(struct ogg *ogg, const uint8_t *packet, size_t length, unsigned samples, uint8_t *out)
{
	size_t written = 0;

	if (ogg->lace_count + length / 255 + 1 > sizeof(ogg->lacing) || ogg->packets == OGG_PACKETS)
		written = write_page(ogg, 0, out);
	put(ogg, packet, length);
	ogg->granule += samples;
	return written;
}

size_t ogg_end(struct ogg *ogg, uint8_t *out)
{
	return write_page(ogg, LAST, out);
}
