/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From master keys to session keys (RFC 3711 §4.3). */
#define OPENSSL_SUPPRESS_DEPRECATED /* see srtp_hash.h */
#include "srtp.h"

#include <openssl/crypto.h>
#include <string.h>

#include "fetch.h"
#include "srtp_hash.h"

#define HMAC_KEY     20
#define HMAC_BLOCK   64
#define CIPHER_BYTES 192 /* about what OpenSSL keeps of one */

enum label { LABEL_RTP = 0, LABEL_RTCP = 3 }; /* encryption; authentication is the next, salt the one after */

struct suite {
	const EVP_CIPHER *(*cipher)(void);
	const EVP_CIPHER *(*derivation)(void);
	__u8 key, salt, tag, rtcp_tag;
	__u8 aead;
};

static const struct suite suites[] = {
	[AES_CM_128_HMAC_SHA1_80] = {EVP_aes_128_ecb, EVP_aes_128_ctr, 16, 14, 10, 10, 0},
	[AES_CM_128_HMAC_SHA1_32] = {EVP_aes_128_ecb, EVP_aes_128_ctr, 16, 14, 4, 10, 0},
	[AES_192_CM_HMAC_SHA1_80] = {EVP_aes_192_ecb, EVP_aes_192_ctr, 24, 14, 10, 10, 0},
	[AES_192_CM_HMAC_SHA1_32] = {EVP_aes_192_ecb, EVP_aes_192_ctr, 24, 14, 4, 10, 0},
	[AES_256_CM_HMAC_SHA1_80] = {EVP_aes_256_ecb, EVP_aes_256_ctr, 32, 14, 10, 10, 0},
	[AES_256_CM_HMAC_SHA1_32] = {EVP_aes_256_ecb, EVP_aes_256_ctr, 32, 14, 4, 10, 0},
	[AEAD_AES_128_GCM] = {EVP_aes_128_gcm, EVP_aes_128_ctr, 16, 12, 16, 16, 1},
	[AEAD_AES_256_GCM] = {EVP_aes_256_gcm, EVP_aes_256_ctr, 32, 12, 16, 16, 1},
};

static const struct suite *find_suite(unsigned number)
{
	if (number == SRTP_NONE || number >= sizeof(suites) / sizeof(*suites))
		return NULL;
	return &suites[number];
}

unsigned srtp_master_length(unsigned number)
{
	const struct suite *suite = find_suite(number);

	return suite ? suite->key + suite->salt : 0;
}

void srtp_key_id(const struct srtp_keys *keys, bool sends, bool rtcp, __u8 id[SRTP_ID_BYTES])
{
	__u8 digest[EVP_MAX_MD_SIZE], named[2 + SRTP_MASTER_BYTES] = {keys->suite, (__u8)(sends << 1 | rtcp)};
	unsigned length = srtp_master_length(keys->suite);

	memcpy(named + 2, keys->master, length);
	EVP_Digest(named, 2 + length, digest, NULL, EVP_sha256(), NULL);
	memcpy(id, digest, SRTP_ID_BYTES);
	OPENSSL_cleanse(named, sizeof(named));
}

/* `length` bytes of the key stream that the master key makes of its salt and the label; 0 or -1. */
static int derive(EVP_CIPHER_CTX *stream, const __u8 *salt, __u8 label, __u8 *out, int length)
{
	__u8 start[16] = {0};

	memcpy(start, salt, 14);
	start[7] ^= label;
	memset(out, 0, (size_t)length);
	if (!EVP_EncryptInit_ex(stream, NULL, NULL, NULL, start))
		return -1;
	return EVP_EncryptUpdate(stream, out, &length, out, length) ? 0 : -1;
}

static void begin_hash(const __u8 *key, __u8 pad, __u32 *state)
{
	__u8 block[HMAC_BLOCK];
	SHA_CTX hash;

	memset(block, pad, sizeof(block));
	for (unsigned i = 0; i < HMAC_KEY; i++)
		block[i] ^= key[i];
	SHA1_Init(&hash);
	SHA1_Update(&hash, block, sizeof(block));
	memcpy(state, &hash, sizeof(hash));
	OPENSSL_cleanse(block, sizeof(block));
	OPENSSL_cleanse(&hash, sizeof(hash));
}

static void begin_hmac(struct srtp_hmac *hmac, const __u8 *key)
{
	begin_hash(key, 0x36, hmac->inner);
	begin_hash(key, 0x5c, hmac->outer);
}

static int open_session(struct srtp_session *session, const struct suite *suite, EVP_CIPHER_CTX *stream,
			const __u8 *salt, enum label label, bool sends)
{
	__u8 key[32], authentication[HMAC_KEY];
	int failed;

	session->cipher = EVP_CIPHER_CTX_new();
	failed = !session->cipher || derive(stream, salt, (__u8)label, key, suite->key) ||
		 derive(stream, salt, (__u8)label + 1, authentication, HMAC_KEY) ||
		 derive(stream, salt, (__u8)label + 2, session->salt, suite->salt) ||
		 !EVP_CipherInit_ex(session->cipher, suite->cipher(), NULL, key, NULL,
				    sends || !suite->aead) ||
		 !EVP_CIPHER_CTX_set_padding(session->cipher, 0);
	begin_hmac(&session->hmac, authentication);
	OPENSSL_cleanse(key, sizeof(key));
	OPENSSL_cleanse(authentication, sizeof(authentication));
	return failed ? -1 : 0;
}

int srtp_open(struct srtp_context *context, const struct srtp_keys *keys, struct srtp_history *history,
	      bool sends)
{
	const struct suite *suite = find_suite(keys->suite);
	EVP_CIPHER_CTX *stream = EVP_CIPHER_CTX_new();
	__u8 salt[14] = {0};
	int failed = -1;

	memset(context, 0, sizeof(*context));
	if (!suite || !stream || keys->mki_length > SRTP_MKI_BYTES) {
		EVP_CIPHER_CTX_free(stream);
		return -1;
	}
	context->history = history;
	context->aead = suite->aead;
	context->sends = sends;
	context->rtp.tag = suite->tag;
	context->rtcp.tag = suite->rtcp_tag;
	context->mki_length = keys->mki_length;
	context->mki = keys->mki;
	memcpy(salt, keys->master + suite->key, suite->salt);
	if (EVP_EncryptInit_ex(stream, suite->derivation(), NULL, keys->master, NULL))
		failed = open_session(&context->rtp, suite, stream, salt, LABEL_RTP, sends) ||
			 open_session(&context->rtcp, suite, stream, salt, LABEL_RTCP, sends);
	EVP_CIPHER_CTX_free(stream);
	if (failed)
		srtp_close(context);
	return failed ? -1 : 0;
}

void srtp_fetch(const struct srtp_context *context)
{
	fetch(context, offsetof(struct srtp_context, rtcp));
}

void srtp_fetch_behind(const struct srtp_context *context)
{
	fetch(context->history, offsetof(struct srtp_history, closed));
	fetch(&context->history->streams[0], sizeof(struct srtp_stream));
	fetch(context->rtp.cipher, CIPHER_BYTES);
}

void srtp_close(struct srtp_context *context)
{
	EVP_CIPHER_CTX_free(context->rtp.cipher);
	EVP_CIPHER_CTX_free(context->rtcp.cipher);
	OPENSSL_cleanse(context, sizeof(*context));
}
