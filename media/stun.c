/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "stun.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "address.h"

#define HEADER		20
#define LONGEST		1280 /* of a message of theirs; no network must carry longer ones whole */
#define ATTRIBUTE	4    /* type and length before each value */
#define DIGEST		20
#define COOKIE		0x2112a442U
#define FINGERPRINT_XOR 0x5354554eU
#define TYPE_BINDING	0x0001
#define CLASS_MASK	0x0110
#define OPTIONAL	0x8000 /* attribute types from here on need not be understood */
#define FAMILY_IPV4	1
#define FAMILY_IPV6	2

enum attribute {
	MAPPED_ADDRESS = 0x0001,
	USERNAME = 0x0006,
	MESSAGE_INTEGRITY = 0x0008,
	ERROR_CODE = 0x0009,
	UNKNOWN_ATTRIBUTES = 0x000a,
	REALM = 0x0014,
	NONCE = 0x0015,
	XOR_MAPPED_ADDRESS = 0x0020,
	PRIORITY = 0x0024,
	USE_CANDIDATE = 0x0025,
	FINGERPRINT = 0x8028,
	ICE_CONTROLLED = 0x8029,
	ICE_CONTROLLING = 0x802a,
};

static __u16 read_16(const __u8 *data)
{
	return (__u16)(data[0] << 8 | data[1]);
}

static __u32 read_32(const __u8 *data)
{
	return (__u32)read_16(data) << 16 | read_16(data + 2);
}

static __u64 read_64(const __u8 *data)
{
	return (__u64)read_32(data) << 32 | read_32(data + 4);
}

static void write_16(__u8 *data, unsigned value)
{
	data[0] = (__u8)(value >> 8);
	data[1] = (__u8)value;
}

static void write_32(__u8 *data, __u32 value)
{
	write_16(data, value >> 16);
	write_16(data + 2, value & 0xffff);
}

static size_t padded(size_t length)
{
	return (length + 3) / 4 * 4;
}

/* CRC-32 of ISO 3309, four bits at a time. */
static __u32 crc(const __u8 *data, size_t length)
{
	static const __u32 table[16] = {
		0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
		0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
		0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
	};
	__u32 sum = ~0U;

	for (size_t i = 0; i < length; i++) {
		sum ^= data[i];
		sum = sum >> 4 ^ table[sum & 15];
		sum = sum >> 4 ^ table[sum & 15];
	}
	return ~sum;
}

bool stun_owns(const __u8 *data, size_t length)
{
	return length >= HEADER && data[0] < 4 && read_32(data + 4) == COOKIE;
}

/* Class and method share the bits of the type: of the method Binding only the lowest is set. */
static bool read_class(const __u8 *data, enum stun_class *class)
{
	unsigned type = read_16(data);

	if ((type & ~CLASS_MASK) != TYPE_BINDING)
		return false;
	*class = (enum stun_class)((type >> 7 & 2) | (type >> 4 & 1));
	return true;
}

static bool read_mapped(struct stun_message *message, const __u8 *value, size_t length)
{
	__u8 *address = message->mapped_address;
	const __u8 *mask = message->data + 4; /* cookie, then transaction */
	size_t bytes = length > 1 && value[1] == FAMILY_IPV6 ? 16 : 4;

	if (length != 4 + bytes || (bytes == 4 && value[1] != FAMILY_IPV4))
		return false;
	memset(address, 0, 16);
	if (bytes == 4)
		address[10] = address[11] = 0xff;
	for (size_t i = 0; i < bytes; i++)
		address[16 - bytes + i] = value[4 + i] ^ mask[i];
	message->mapped_port = htons((__u16)(read_16(value + 2) ^ COOKIE >> 16));
	message->mapped = true;
	return true;
}

static bool read_role(struct stun_message *message, enum stun_role role, const __u8 *value, size_t length)
{
	if (length != 8)
		return false;
	message->role = role;
	message->tiebreaker = read_64(value);
	return true;
}

static void note_unknown(struct stun_message *message, __u16 type)
{
	if (type < OPTIONAL && message->unknown_count < STUN_UNKNOWNS)
		message->unknown[message->unknown_count++] = type;
}

/* False: a value that its attribute cannot have. */
static bool read_attribute(struct stun_message *message, __u16 type, const __u8 *value, size_t length)
{
	switch (type) {
	case USERNAME:
		message->username = value;
		message->username_length = length;
		return true;
	case MESSAGE_INTEGRITY:
		message->integrity = (size_t)(value - message->data) - ATTRIBUTE;
		return length == DIGEST;
	case ERROR_CODE:
		if (length < 4)
			return false;
		message->error = (value[2] & 7) * 100U + value[3];
		return true;
	case XOR_MAPPED_ADDRESS:
		return read_mapped(message, value, length);
	case PRIORITY:
		if (length != 4)
			return false;
		message->priority = read_32(value);
		return true;
	case USE_CANDIDATE:
		message->use_candidate = true;
		return true;
	case ICE_CONTROLLED:
		return read_role(message, STUN_CONTROLLED, value, length);
	case ICE_CONTROLLING:
		return read_role(message, STUN_CONTROLLING, value, length);
	case MAPPED_ADDRESS:
	case REALM:
	case NONCE:
	case UNKNOWN_ATTRIBUTES:
		return true; /* known, and of no use to ICE */
	default:
		note_unknown(message, type);
		return true;
	}
}

static bool is_fingerprint(const __u8 *data, size_t at, size_t length)
{
	return length == 4 && read_32(data + at + ATTRIBUTE) == (crc(data, at) ^ FINGERPRINT_XOR);
}

bool stun_read(const __u8 *data, size_t length, struct stun_message *message)
{
	*message = (struct stun_message){.data = data, .length = length, .transaction = data + 8};
	if (!stun_owns(data, length) || !read_class(data, &message->class))
		return false;
	if (length > LONGEST || length % 4 || read_16(data + 2) != length - HEADER)
		return false;
	for (size_t at = HEADER; at + ATTRIBUTE <= length;) {
		__u16 type = read_16(data + at);
		size_t bytes = read_16(data + at + 2), next = at + ATTRIBUTE + padded(bytes);

		if (next > length)
			return false;
		if (type == FINGERPRINT)
			return next == length && is_fingerprint(data, at, bytes);
		/* What follows the integrity is not covered by it, and counts for nothing (RFC 8489 §14.5).
		 */
		if (!message->integrity && !read_attribute(message, type, data + at + ATTRIBUTE, bytes))
			return false;
		at = next;
	}
	return false;
}

/* The digest over all before `at`, as if the message ended behind MESSAGE-INTEGRITY. */
static bool digest(const __u8 *data, size_t at, const char *password, __u8 *result)
{
	__u8 covered[LONGEST];
	unsigned length = DIGEST;

	memcpy(covered, data, at);
	write_16(covered + 2, (unsigned)(at + ATTRIBUTE + DIGEST - HEADER));
	return HMAC(EVP_sha1(), password, (int)strlen(password), covered, at, result, &length);
}

bool stun_authentic(const struct stun_message *message, const char *password)
{
	__u8 right[EVP_MAX_MD_SIZE];

	return message->integrity && digest(message->data, message->integrity, password, right) &&
	       !CRYPTO_memcmp(right, message->data + message->integrity + ATTRIBUTE, DIGEST);
}

struct stun_writer stun_begin(__u8 *data, enum stun_class class, const __u8 *transaction)
{
	write_16(data, TYPE_BINDING | (class & 2U) << 7 | (class & 1U) << 4);
	write_32(data + 4, COOKIE);
	memcpy(data + 8, transaction, STUN_TRANSACTION);
	return (struct stun_writer){.data = data, .length = HEADER};
}

/* Room for a value of `length` bytes, its padding zero. */
static __u8 *put(struct stun_writer *writer, enum attribute type, size_t length)
{
	__u8 *place = writer->data + writer->length;

	write_16(place, type);
	write_16(place + 2, (unsigned)length);
	memset(place + ATTRIBUTE, 0, padded(length));
	writer->length += ATTRIBUTE + padded(length);
	return place + ATTRIBUTE;
}

void stun_put_username(struct stun_writer *writer, const char *to, const char *from)
{
	size_t to_length = strlen(to), from_length = strlen(from);
	__u8 *value = put(writer, USERNAME, to_length + 1 + from_length);

	memcpy(value, to, to_length);
	value[to_length] = ':';
	memcpy(value + to_length + 1, from, from_length);
}

void stun_put_priority(struct stun_writer *writer, __u32 priority)
{
	write_32(put(writer, PRIORITY, 4), priority);
}

void stun_put_role(struct stun_writer *writer, enum stun_role role, __u64 tiebreaker)
{
	__u8 *value = put(writer, role == STUN_CONTROLLING ? ICE_CONTROLLING : ICE_CONTROLLED, 8);

	write_32(value, (__u32)(tiebreaker >> 32));
	write_32(value + 4, (__u32)tiebreaker);
}

void stun_put_use_candidate(struct stun_writer *writer)
{
	put(writer, USE_CANDIDATE, 0);
}

void stun_put_mapped(struct stun_writer *writer, const __u8 *address, __be16 port)
{
	size_t bytes = address_is_v4(address) ? 4 : 16;
	__u8 *value = put(writer, XOR_MAPPED_ADDRESS, 4 + bytes);
	const __u8 *mask = writer->data + 4;

	value[1] = bytes == 4 ? FAMILY_IPV4 : FAMILY_IPV6;
	write_16(value + 2, ntohs(port) ^ COOKIE >> 16);
	for (size_t i = 0; i < bytes; i++)
		value[4 + i] = address[16 - bytes + i] ^ mask[i];
}

static const char *phrase(enum stun_error error)
{
	switch (error) {
	case STUN_UNAUTHENTICATED:
		return "Unauthenticated";
	case STUN_UNKNOWN_ATTRIBUTE:
		return "Unknown Attribute";
	case STUN_ROLE_CONFLICT:
		return "Role Conflict";
	default:
		return "Bad Request";
	}
}

void stun_put_error(struct stun_writer *writer, enum stun_error error, const struct stun_message *about)
{
	const char *text = phrase(error);
	size_t length = strlen(text);
	__u8 *value = put(writer, ERROR_CODE, 4 + length);

	value[2] = (__u8)(error / 100);
	value[3] = (__u8)(error % 100);
	memcpy(value + 4, text, length);
	if (error != STUN_UNKNOWN_ATTRIBUTE)
		return;
	value = put(writer, UNKNOWN_ATTRIBUTES, 2 * (size_t)about->unknown_count);
	for (unsigned i = 0; i < about->unknown_count; i++)
		write_16(value + 2 * (size_t)i, about->unknown[i]);
}

size_t stun_finish(struct stun_writer *writer, const char *password)
{
	__u8 *data = writer->data, made[EVP_MAX_MD_SIZE] = {0};
	size_t at = writer->length;

	if (password) {
		digest(data, at, password, made);
		memcpy(put(writer, MESSAGE_INTEGRITY, DIGEST), made, DIGEST);
		at = writer->length;
	}
	write_16(data + 2, (unsigned)(at + ATTRIBUTE + 4 - HEADER));
	write_32(put(writer, FINGERPRINT, 4), crc(data, at) ^ FINGERPRINT_XOR);
	return writer->length;
}
