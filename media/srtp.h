/* SPDX-License-Identifier: GPL-3.0-or-later */
/* SRTP and SRTCP (RFC 3711, 6188, 7714) in place, on OpenSSL's primitives. No allocation once a key is set
 * up. */
#ifndef VOXDP_SRTP_H
#define VOXDP_SRTP_H

#include <openssl/evp.h>
#include <stddef.h>
#include <linux/types.h>

#include "srtp_history.h"
#include "srtp_keys.h"

#define SRTP_TAG     16
#define SRTP_TRAILER (4 + SRTP_TAG + SRTP_MKI_BYTES) /* room behind a packet that protecting needs */

enum srtp_status {
	SRTP_OK = 0,
	SRTP_MALFORMED, /* shorter than its own header, tag or index */
	SRTP_FORGED,	/* not of this key: wrong tag or key identifier, or not encrypted */
	SRTP_REPLAYED,	/* its index was used before, or is too old to know */
	SRTP_CROWDED,	/* too many SSRCs under one key */
	SRTP_WORN,	/* the key's last index has been used */
	SRTP_BROKEN,	/* the crypto library failed */
};

/* What SHA-1 has after the first block of HMAC, for the inner and the outer hash. */
struct srtp_hmac {
	__u32 inner[24], outer[24];
};

/* The session keys of RTP or of RTCP. */
struct srtp_session {
	EVP_CIPHER_CTX *cipher;
	struct srtp_hmac hmac;
	__u8 salt[14];
	__u8 tag; /* bytes */
};

struct srtp_context {
	struct srtp_history *history; /* NULL: not opened */
	__u8 aead;
	__u8 sends;
	__u8 mki_length;
	struct srtp_session rtp, rtcp;
	const __u8 *mki; /* of the keys that it was opened with */
};

/* Bytes of master key and salt of a suite; 0: there is no such suite. */
unsigned srtp_master_length(unsigned suite);

/* A name for the key, and what it is used for, that does not betray it. */
void srtp_key_id(const struct srtp_keys *keys, bool sends, bool rtcp, __u8 id[SRTP_ID_BYTES]);

/*
 * Derives the session keys, to protect (`sends`) or to unprotect; `keys` are to stay as long as the context.
 * 0, or -1: no such suite, or no memory.
 */
int srtp_open(struct srtp_context *context, const struct srtp_keys *keys, struct srtp_history *history,
	      bool sends);

/* Wipes all keys. */
void srtp_close(struct srtp_context *context);

/* Has the memory that an RTP packet needs fetched, in two steps: what a packet of 20 ms ago left is not in a
 * cache.
 */
void srtp_fetch(const struct srtp_context *context);
void srtp_fetch_behind(const struct srtp_context *context);

/* Each changes data in place and *length with it; protecting needs SRTP_TRAILER bytes of room behind. */
enum srtp_status srtp_protect(struct srtp_context *context, __u8 *data, size_t *length);
enum srtp_status srtp_unprotect(struct srtp_context *context, __u8 *data, size_t *length);
enum srtp_status srtcp_protect(struct srtp_context *context, __u8 *data, size_t *length);
enum srtp_status srtcp_unprotect(struct srtp_context *context, __u8 *data, size_t *length);

#endif
