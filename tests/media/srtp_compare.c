/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Our SRTP beside another one, packet by packet: what each protects, and what each makes of the other's. */
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "srtp.h"

#define ROOM 2048

typedef int (*transform)(void *session, void *packet, int *length);

/* What the other library offers; `sends` and `receives` are its sessions. */
struct other {
	void *sends, *receives;
	transform protect, unprotect, protect_rtcp, unprotect_rtcp;
};

struct side {
	struct srtp_context sends, receives;
	struct srtp_history sent, received;
};

const EVP_CIPHER *__real_EVP_aes_192_ctr(void);
const EVP_CIPHER *__wrap_EVP_aes_192_ctr(void);

static bool as_libsrtp;

/*
 * libsrtp derives the keys of AES-192 as if the master key had 256 bits, unlike RFC 6188 §3: with the first
 * bytes of the salt as the key's last. Where that salt is zero we come to the same by that cipher.
 */
const EVP_CIPHER *__wrap_EVP_aes_192_ctr(void)
{
	return as_libsrtp ? EVP_aes_256_ctr() : __real_EVP_aes_192_ctr();
}

void srtp_derive_as_libsrtp(bool so)
{
	as_libsrtp = so;
}

static uint64_t chance = 88172645463325252ULL;

static uint32_t draw(uint32_t below)
{
	chance ^= chance << 13;
	chance ^= chance >> 7;
	chance ^= chance << 17;
	return (uint32_t)(chance >> 32) % below;
}

static void write_16(uint8_t *data, uint32_t value)
{
	data[0] = (uint8_t)(value >> 8);
	data[1] = (uint8_t)value;
}

/* Contributing sources and an extension now and then; payload of any length. */
static size_t make_rtp(uint8_t *data, uint16_t sequence, uint32_t ssrc)
{
	uint32_t sources = draw(8) ? 0 : draw(16), words = draw(8) ? 0 : 1 + draw(4), extended = words != 0;
	size_t length = 12 + 4 * sources + (extended ? 4 + 4 * words : 0) + draw(400);

	for (size_t i = 0; i < length; i++)
		data[i] = (uint8_t)draw(256);
	data[0] = (uint8_t)(0x80 | extended << 4 | sources);
	data[1] = (uint8_t)draw(64);
	write_16(data + 2, sequence);
	write_16(data + 8, ssrc >> 16);
	write_16(data + 10, ssrc);
	if (extended)
		write_16(data + 12 + 4 * sources + 2, words);
	return length;
}

static size_t make_rtcp(uint8_t *data, uint32_t ssrc)
{
	size_t length = 8 + 4 * draw(60);

	for (size_t i = 0; i < length; i++)
		data[i] = (uint8_t)draw(256);
	data[0] = 0x80;
	data[1] = 200;
	write_16(data + 2, (uint32_t)length / 4 - 1);
	write_16(data + 4, ssrc >> 16);
	write_16(data + 6, ssrc);
	return length;
}

static void corrupt(uint8_t *data, size_t length)
{
	data[draw((uint32_t)length)] ^= (uint8_t)(1U << draw(8));
}

/* Both protect the same packet; then each opens it, damaged now and then, and now and then twice. */
static int compare(struct side *ours, const struct other *other, const uint8_t *plain, size_t length,
		   int rtcp)
{
	static uint8_t one[ROOM], two[ROOM];
	size_t mine = length, opened;
	int theirs = (int)length, accepted, refused;
	enum srtp_status status;

	memcpy(one, plain, length);
	memcpy(two, plain, length);
	status = rtcp ? srtcp_protect(&ours->sends, one, &mine) : srtp_protect(&ours->sends, one, &mine);
	refused = (rtcp ? other->protect_rtcp : other->protect)(other->sends, two, &theirs);
	if ((status == SRTP_OK) != !refused)
		return 1;
	if (refused)
		return 0;
	if (mine != (size_t)theirs || memcmp(one, two, mine))
		return 1;
	if (!draw(64))
		corrupt(one, mine);
	for (unsigned times = draw(32) ? 1 : 2; times; times--) {
		uint8_t copy[ROOM];

		memcpy(two, one, mine);
		memcpy(copy, one, mine);
		opened = mine;
		theirs = (int)mine;
		status = rtcp ? srtcp_unprotect(&ours->receives, copy, &opened)
			      : srtp_unprotect(&ours->receives, copy, &opened);
		accepted = !(rtcp ? other->unprotect_rtcp : other->unprotect)(other->receives, two, &theirs);
		if ((status == SRTP_OK) != accepted)
			return 1;
		if (accepted && (opened != (size_t)theirs || memcmp(copy, two, opened)))
			return 1;
	}
	return 0;
}

static int open_side(struct side *side, unsigned suite, const uint8_t *master)
{
	struct srtp_keys keys = {.suite = (uint8_t)suite};

	memset(side, 0, sizeof(*side));
	memcpy(keys.master, master, srtp_master_length(suite));
	return srtp_open(&side->sends, &keys, &side->sent, true) ||
	       srtp_open(&side->receives, &keys, &side->received, false);
}

/*
 * `count` packets of two SSRCs, in order but for a few that come late, and one in 50 of them RTCP. The number
 * of disagreements, -1 if the suite is unknown; *rollover: how often the sequence numbers began anew.
 */
int srtp_compare(unsigned suite, const uint8_t *master, const struct other *other, unsigned count,
		 unsigned *rollover)
{
	static struct side ours;
	static uint8_t packet[ROOM];
	uint64_t next[2] = {65000, 5};
	int differences = 0;

	if (open_side(&ours, suite, master))
		return -1;
	for (unsigned i = 0; i < count; i++) {
		unsigned stream = draw(2), late = draw(50) ? 0 : draw(600);
		size_t length;

		if (!draw(50)) {
			length = make_rtcp(packet, 0x1000 + stream);
			differences += compare(&ours, other, packet, length, 1);
			continue;
		}
		if (!draw(1000))
			next[stream] += draw(2000);
		length = make_rtp(packet, (uint16_t)(next[stream] - (late < next[stream] ? late : 0)),
				  0x1000 + stream);
		differences += compare(&ours, other, packet, length, 0);
		next[stream] += !late;
	}
	*rollover = (unsigned)((next[0] >> 16) + (next[1] >> 16));
	srtp_close(&ours.sends);
	srtp_close(&ours.receives);
	return differences;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ns of CPU for a packet of 160 bytes of payload, protected and unprotected; 0: it failed. */
int srtp_cost(unsigned suite, const uint8_t *master, unsigned count, double *protect, double *unprotect)
{
	static struct side ours;
	static uint8_t packets[256][ROOM];
	size_t lengths[256];

	if (open_side(&ours, suite, master))
		return 0;
	*protect = *unprotect = 0;
	for (unsigned done = 0; done < count; done += 256) {
		double began;

		for (unsigned i = 0; i < 256; i++) {
			memset(packets[i], 0x55, 172);
			packets[i][0] = 0x80;
			write_16(packets[i] + 2, done + i);
			lengths[i] = 172;
		}
		began = seconds();
		for (unsigned i = 0; i < 256; i++)
			if (srtp_protect(&ours.sends, packets[i], &lengths[i]) != SRTP_OK)
				return 0;
		*protect += seconds() - began;
		began = seconds();
		for (unsigned i = 0; i < 256; i++)
			if (srtp_unprotect(&ours.receives, packets[i], &lengths[i]) != SRTP_OK)
				return 0;
		*unprotect += seconds() - began;
	}
	*protect *= 1e9 / count;
	*unprotect *= 1e9 / count;
	srtp_close(&ours.sends);
	srtp_close(&ours.receives);
	return 1;
}
