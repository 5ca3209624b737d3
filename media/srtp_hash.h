/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * HMAC-SHA1 from precomputed states. OpenSSL 3's EVP copies a digest state by allocating one, so that a
 * packet would cost four allocations; the older functions copy 96 bytes.
 */
#ifndef VOXDP_SRTP_HASH_H
#define VOXDP_SRTP_HASH_H

#include <openssl/sha.h>
#include <string.h>

#include "srtp.h"

_Static_assert(sizeof(SHA_CTX) == sizeof(((struct srtp_hmac *)0)->inner), "room for a state of SHA-1");

static inline void srtp_hmac(const struct srtp_hmac *hmac, const __u8 *data, size_t length,
			     __u8 tag[SHA_DIGEST_LENGTH])
{
	SHA_CTX hash;

	memcpy(&hash, hmac->inner, sizeof(hash));
	SHA1_Update(&hash, data, length);
	SHA1_Final(tag, &hash);
	memcpy(&hash, hmac->outer, sizeof(hash));
	SHA1_Update(&hash, tag, SHA_DIGEST_LENGTH);
	SHA1_Final(tag, &hash);
}

#endif
