/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "g711.h"

#define ULAW_BIAS  132 /* 33 at the 14 bits of G.711 */
#define ULAW_LIMIT 32635
#define LAW_BITS   13 /* A-law looks at 13 bits of a sample, µ-law at 14 */

static int16_t from_ulaw[256], from_alaw[256];
static uint8_t to_ulaw[1 << (LAW_BITS + 1)], to_alaw[1 << LAW_BITS];
static uint8_t ulaw_to_alaw[256], alaw_to_ulaw[256];

static int16_t expand_ulaw(uint8_t code)
{
	unsigned bits = (uint8_t)~code, magnitude = (((bits & 15) << 3) + ULAW_BIAS) << (bits >> 4 & 7);

	return (int16_t)(bits & 128 ? ULAW_BIAS - (int)magnitude : (int)magnitude - ULAW_BIAS);
}

static int16_t expand_alaw(uint8_t code)
{
	unsigned bits = code ^ 0x55U, segment = bits >> 4 & 7, magnitude = (bits & 15) << 4 | 8;

	if (segment)
		magnitude = (magnitude + 256) << (segment - 1);
	return (int16_t)(bits & 128 ? (int)magnitude : -(int)magnitude);
}

/* Number of the segment, 0 to 7, that a magnitude of 15 bits is in; the second one begins at 1 << first. */
static unsigned segment_of(unsigned magnitude, unsigned first)
{
	unsigned segment = 0;

	while (segment < 7 && magnitude >> (first + segment))
		segment++;
	return segment;
}

static uint8_t compress_ulaw(int sample)
{
	unsigned sign = sample < 0 ? 128 : 0, magnitude = (unsigned)(sample < 0 ? -sample : sample), segment;

	magnitude = (magnitude > ULAW_LIMIT ? ULAW_LIMIT : magnitude) + ULAW_BIAS;
	segment = segment_of(magnitude, 8);
	return (uint8_t) ~(sign | segment << 4 | (magnitude >> (segment + 3) & 15));
}

static uint8_t compress_alaw(int sample)
{
	unsigned sign = sample < 0 ? 0 : 128, magnitude = (unsigned)(sample < 0 ? -sample - 1 : sample);
	unsigned segment = segment_of(magnitude, 8), shift = segment ? segment + 3 : 4;

	return (uint8_t)((sign | segment << 4 | (magnitude >> shift & 15)) ^ 0x55);
}

/* The middle of the samples that share a table entry. */
static int sample_of(unsigned entry, unsigned bits)
{
	return (int16_t)(entry << (16 - bits)) + (1 << (15 - bits));
}

__attribute__((constructor)) static void fill_tables(void)
{
	for (unsigned code = 0; code < 256; code++) {
		from_ulaw[code] = expand_ulaw((uint8_t)code);
		from_alaw[code] = expand_alaw((uint8_t)code);
	}
	for (unsigned entry = 0; entry < sizeof(to_ulaw); entry++)
		to_ulaw[entry] = compress_ulaw(sample_of(entry, LAW_BITS + 1));
	for (unsigned entry = 0; entry < sizeof(to_alaw); entry++)
		to_alaw[entry] = compress_alaw(sample_of(entry, LAW_BITS));
	g711_to_alaw(from_ulaw, 256, ulaw_to_alaw);
	g711_to_ulaw(from_alaw, 256, alaw_to_ulaw);
}

void g711_ulaw_to_alaw(const uint8_t *codes, size_t count, uint8_t *result)
{
	for (size_t i = 0; i < count; i++)
		result[i] = ulaw_to_alaw[codes[i]];
}

void g711_alaw_to_ulaw(const uint8_t *codes, size_t count, uint8_t *result)
{
	for (size_t i = 0; i < count; i++)
		result[i] = alaw_to_ulaw[codes[i]];
}

void g711_from_ulaw(const uint8_t *codes, size_t count, int16_t *pcm)
{
	for (size_t i = 0; i < count; i++)
		pcm[i] = from_ulaw[codes[i]];
}

void g711_from_alaw(const uint8_t *codes, size_t count, int16_t *pcm)
{
	for (size_t i = 0; i < count; i++)
		pcm[i] = from_alaw[codes[i]];
}

void g711_to_ulaw(const int16_t *pcm, size_t count, uint8_t *codes)
{
	for (size_t i = 0; i < count; i++)
		codes[i] = to_ulaw[(uint16_t)pcm[i] >> (16 - LAW_BITS - 1)];
}

void g711_to_alaw(const int16_t *pcm, size_t count, uint8_t *codes)
{
	for (size_t i = 0; i < count; i++)
		codes[i] = to_alaw[(uint16_t)pcm[i] >> (16 - LAW_BITS)];
}
