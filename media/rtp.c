/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rtp.h"

#define EXTENSION_HEADER 4

static uint16_t read_16(const uint8_t *data)
{
	return (uint16_t)(data[0] << 8 | data[1]);
}

static uint32_t read_32(const uint8_t *data)
{
	return (uint32_t)read_16(data) << 16 | read_16(data + 2);
}

static void write_16(uint8_t *data, uint16_t value)
{
	data[0] = (uint8_t)(value >> 8);
	data[1] = (uint8_t)value;
}

static void write_32(uint8_t *data, uint32_t value)
{
	write_16(data, (uint16_t)(value >> 16));
	write_16(data + 2, (uint16_t)value);
}

/* More than `length` where the header does not fit. */
static size_t header_length(const uint8_t *data, size_t length)
{
	size_t header = RTP_FIXED + 4 * (size_t)(data[0] & 15);

	if (!(data[0] & 0x10))
		return header;
	if (header + EXTENSION_HEADER > length)
		return length + 1;
	return header + EXTENSION_HEADER + 4 * (size_t)read_16(data + header + 2);
}

int rtp_read(const uint8_t *data, size_t length, struct rtp_fields *fields)
{
	size_t header, padding;

	if (length < RTP_FIXED || data[0] >> 6 != 2)
		return -1;
	header = header_length(data, length);
	padding = data[0] & 0x20 ? data[length - 1] : 0;
	if (header + padding > length || (data[0] & 0x20 && !padding))
		return -1;
	*fields = (struct rtp_fields){
		.payload = data + header,
		.length = (uint32_t)(length - header - padding),
		.timestamp = read_32(data + 4),
		.ssrc = read_32(data + 8),
		.sequence = read_16(data + 2),
		.payload_type = data[1] & 127,
		.marker = data[1] >> 7,
	};
	return 0;
}

void rtp_write(const struct rtp_fields *fields, uint8_t *data)
{
	data[0] = 0x80;
	data[1] = (uint8_t)(fields->marker << 7 | fields->payload_type);
	write_16(data + 2, fields->sequence);
	write_32(data + 4, fields->timestamp);
	write_32(data + 8, fields->ssrc);
}
