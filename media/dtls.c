/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "dtls.h"

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include "srtp.h"

#define PROFILES     "SRTP_AEAD_AES_128_GCM:SRTP_AEAD_AES_256_GCM:SRTP_AES128_CM_SHA1_80:SRTP_AES128_CM_SHA1_32"
#define CIPHERS	     "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES"
#define LABEL	     "EXTRACTOR-dtls_srtp" /* RFC 5764 §4.2 */
#define MTU	     1200
#define RETRY	     1000000000ULL  /* ns after a failure */
#define RESEND_FIRST 100000	    /* us until a flight that is not answered is sent again, at first */
#define RESEND_LAST  2000000	    /* and at last */
#define LINGER	     10000000000ULL /* ns for which the peer may ask for our last flight again */
#define VALID	     (365 * 24 * 3600L)
#define SOON	     (30 * 24 * 3600L)

struct dtls {
	SSL *ssl;
	struct engine_dtls wanted;
	const struct dtls_identity *identity;
	dtls_send send;
	void *where;
	const __u8 *incoming; /* the datagram at hand, until it is read */
	size_t incoming_length;
	enum dtls_state state;
	__u64 since; /* of the state */
	char error[ENGINE_EVENT_BYTES];
};

static BIO_METHOD *datagrams;

/* One read is one datagram. */
static int read_datagram(BIO *bio, char *data, int room)
{
	struct dtls *dtls = BIO_get_data(bio);
	int length = (int)dtls->incoming_length;

	BIO_clear_retry_flags(bio);
	if (!dtls->incoming) {
		BIO_set_retry_read(bio);
		return -1;
	}
	if (length > room)
		length = room;
	memcpy(data, dtls->incoming, (size_t)length);
	dtls->incoming = NULL;
	return length;
}

static int write_datagram(BIO *bio, const char *data, int length)
{
	struct dtls *dtls = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	dtls->send(dtls->where, (const __u8 *)data, (size_t)length);
	return length;
}

static long control(BIO *bio, int command, long number, void *pointer)
{
	(void)bio, (void)number, (void)pointer;
	switch (command) {
	case BIO_CTRL_FLUSH:
	case BIO_CTRL_DUP:
		return 1;
	case BIO_CTRL_DGRAM_QUERY_MTU:
	case BIO_CTRL_DGRAM_GET_FALLBACK_MTU:
		return MTU;
	default:
		return 0;
	}
}

static BIO_METHOD *datagram_method(void)
{
	if (datagrams)
		return datagrams;
	datagrams = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "datagrams of a flow");
	if (datagrams) {
		BIO_meth_set_read(datagrams, read_datagram);
		BIO_meth_set_write(datagrams, write_datagram);
		BIO_meth_set_ctrl(datagrams, control);
	}
	return datagrams;
}

/* Any certificate will do here; its hash is compared once the handshake is over. */
static int accept_any(int verified, X509_STORE_CTX *store)
{
	(void)verified, (void)store;
	return 1;
}

static X509 *make_certificate(EVP_PKEY *key)
{
	X509 *certificate = X509_new();
	X509_NAME *name;
	__u64 serial;

	if (!certificate || RAND_bytes((__u8 *)&serial, sizeof(serial)) != 1)
		goto failed;
	name = X509_get_subject_name(certificate);
	if (!X509_set_version(certificate, 2) ||
	    !ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1) ||
	    !X509_gmtime_adj(X509_getm_notBefore(certificate), -24 * 3600L) ||
	    !X509_gmtime_adj(X509_getm_notAfter(certificate), VALID) ||
	    !X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const __u8 *)"voxdp", -1, -1, 0) ||
	    !X509_set_issuer_name(certificate, name) || !X509_set_pubkey(certificate, key) ||
	    !X509_sign(certificate, key, EVP_sha256()))
		goto failed;
	return certificate;
failed:
	X509_free(certificate);
	return NULL;
}

/* What is kept, if it can be read and will not expire soon. */
static X509 *recall(const struct vault_identity *kept, EVP_PKEY **key)
{
	const __u8 *text = kept->certificate, *secret = kept->key;
	time_t soon = time(NULL) + SOON;
	X509 *certificate;

	if (!kept->key_bytes || kept->key_bytes > sizeof(kept->key) ||
	    kept->certificate_bytes > sizeof(kept->certificate))
		return NULL;
	*key = d2i_AutoPrivateKey(NULL, &secret, (long)kept->key_bytes);
	certificate = d2i_X509(NULL, &text, (long)kept->certificate_bytes);
	if (*key && certificate && X509_check_private_key(certificate, *key) == 1 &&
	    X509_cmp_time(X509_get0_notAfter(certificate), &soon) > 0)
		return certificate;
	X509_free(certificate);
	EVP_PKEY_free(*key);
	*key = NULL;
	return NULL;
}

/* The key's length last: without it nothing is kept. */
static void keep(struct vault_identity *kept, X509 *certificate, EVP_PKEY *key)
{
	__u8 *text = kept->certificate, *secret = kept->key;

	kept->key_bytes = 0;
	if (i2d_X509(certificate, NULL) > (int)sizeof(kept->certificate) ||
	    i2d_PrivateKey(key, NULL) > (int)sizeof(kept->key))
		return;
	kept->certificate_bytes = (__u32)i2d_X509(certificate, &text);
	__atomic_store_n(&kept->key_bytes, (__u32)i2d_PrivateKey(key, &secret), __ATOMIC_RELEASE);
}

static X509 *make(struct vault_identity *kept, EVP_PKEY **key)
{
	X509 *certificate;

	*key = EVP_EC_gen("P-256");
	certificate = *key ? make_certificate(*key) : NULL;
	if (certificate)
		keep(kept, certificate, *key);
	return certificate;
}

static int use_certificate(struct dtls_identity *identity, struct vault_identity *kept)
{
	EVP_PKEY *key = NULL;
	X509 *known = recall(kept, &key), *certificate = known ? known : make(kept, &key);
	unsigned length = ENGINE_OWN_HASH;
	int good = certificate && SSL_CTX_use_certificate(identity->context, certificate) &&
		   SSL_CTX_use_PrivateKey(identity->context, key) &&
		   X509_digest(certificate, EVP_sha256(), identity->hash, &length);

	X509_free(certificate);
	EVP_PKEY_free(key);
	return good ? 0 : -1;
}

int dtls_identity_create(struct dtls_identity *identity, struct vault_identity *kept)
{
	SSL_CTX *context = SSL_CTX_new(DTLS_method());

	memset(identity, 0, sizeof(*identity));
	identity->context = context;
	if (context && !use_certificate(identity, kept) && datagram_method() &&
	    SSL_CTX_set_min_proto_version(context, DTLS1_2_VERSION) &&
	    SSL_CTX_set_cipher_list(context, CIPHERS) && !SSL_CTX_set_tlsext_use_srtp(context, PROFILES)) {
		SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, accept_any);
		SSL_CTX_set_options(context,
				    SSL_OP_NO_QUERY_MTU | SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
		SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
		return 0;
	}
	dtls_identity_destroy(identity);
	return -1;
}

void dtls_identity_destroy(struct dtls_identity *identity)
{
	SSL_CTX_free(identity->context);
	identity->context = NULL;
}

/* A first hello often comes before the peer listens; to wait the second of RFC 6347 §4.2.4.1 costs speech. */
static unsigned resend_after(SSL *ssl, unsigned before)
{
	(void)ssl;
	if (!before)
		return RESEND_FIRST;
	return before < RESEND_LAST / 2 ? 2 * before : RESEND_LAST;
}

static SSL *begin(struct dtls *dtls)
{
	SSL *ssl = SSL_new(dtls->identity->context);
	BIO *bio = ssl ? BIO_new(datagram_method()) : NULL;

	if (!bio) {
		SSL_free(ssl);
		return NULL;
	}
	BIO_set_data(bio, dtls);
	BIO_set_init(bio, 1);
	SSL_set_bio(ssl, bio, bio);
	SSL_set_mtu(ssl, MTU);
	DTLS_set_timer_cb(ssl, resend_after);
	if (dtls->wanted.role == DTLS_ACTIVE)
		SSL_set_connect_state(ssl);
	else
		SSL_set_accept_state(ssl);
	return ssl;
}

struct dtls *dtls_create(const struct dtls_identity *identity, const struct engine_dtls *wanted,
			 dtls_send send, void *where)
{
	struct dtls *dtls = calloc(1, sizeof(*dtls));

	if (!dtls)
		return NULL;
	dtls->identity = identity;
	dtls->wanted = *wanted;
	dtls->send = send;
	dtls->where = where;
	dtls->ssl = begin(dtls);
	if (dtls->ssl)
		return dtls;
	free(dtls);
	return NULL;
}

void dtls_destroy(struct dtls *dtls)
{
	if (!dtls)
		return;
	SSL_free(dtls->ssl);
	OPENSSL_cleanse(dtls, sizeof(*dtls));
	free(dtls);
}

bool dtls_owns(const __u8 *data, size_t length)
{
	return length > 0 && data[0] >= 20 && data[0] <= 63;
}

static const EVP_MD *hash_of(unsigned bytes)
{
	switch (bytes) {
	case 20:
		return EVP_sha1();
	case 28:
		return EVP_sha224();
	case 32:
		return EVP_sha256();
	case 48:
		return EVP_sha384();
	case 64:
		return EVP_sha512();
	default:
		return NULL;
	}
}

static bool is_peer(const struct dtls *dtls)
{
	X509 *certificate = SSL_get1_peer_certificate(dtls->ssl);
	const EVP_MD *hash = hash_of(dtls->wanted.bytes);
	__u8 found[EVP_MAX_MD_SIZE];
	unsigned length = 0;
	bool same = certificate && hash && X509_digest(certificate, hash, found, &length) &&
		    length == dtls->wanted.bytes && !CRYPTO_memcmp(found, dtls->wanted.fingerprint, length);

	X509_free(certificate);
	return same;
}

static enum dtls_state enter(struct dtls *dtls, enum dtls_state state, __u64 now)
{
	dtls->state = state;
	dtls->since = now;
	return state;
}

static enum dtls_state fail(struct dtls *dtls, const char *why, __u64 now)
{
	snprintf(dtls->error, sizeof(dtls->error), "%s", why);
	return enter(dtls, DTLS_FAILED, now);
}

static const char *reason_of_failure(void)
{
	unsigned long error = ERR_peek_last_error();
	const char *text = ERR_reason_error_string(error);

	ERR_clear_error();
	return text ? text : "handshake refused";
}

/* One step of the handshake, or of answering a peer that asks again after it. */
static enum dtls_state step(struct dtls *dtls, __u64 now)
{
	__u8 ignored[64];
	int result, error;

	ERR_clear_error();
	result = dtls->state == DTLS_CONNECTED ? SSL_read(dtls->ssl, ignored, sizeof(ignored))
					       : SSL_do_handshake(dtls->ssl);
	error = SSL_get_error(dtls->ssl, result);
	if (dtls->state == DTLS_CONNECTED)
		return DTLS_CONNECTED; /* alerts included: keys go on until signalling ends them */
	if (result == 1) {
		if (!is_peer(dtls))
			return fail(dtls, "certificate is not the one that was signalled", now);
		if (!SSL_get_selected_srtp_profile(dtls->ssl))
			return fail(dtls, "no SRTP profile in common", now);
		return enter(dtls, DTLS_CONNECTED, now);
	}
	if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
		return DTLS_SHAKING;
	return fail(dtls, reason_of_failure(), now);
}

enum dtls_state dtls_receive(struct dtls *dtls, const __u8 *data, size_t length, __u64 now)
{
	if (dtls->state == DTLS_FAILED)
		return DTLS_FAILED;
	dtls->incoming = data;
	dtls->incoming_length = length;
	step(dtls, now);
	dtls->incoming = NULL;
	return dtls->state;
}

enum dtls_state dtls_tick(struct dtls *dtls, __u64 now)
{
	SSL *fresh;

	if (dtls->state == DTLS_FAILED && now - dtls->since >= RETRY && (fresh = begin(dtls))) {
		SSL_free(dtls->ssl);
		dtls->ssl = fresh;
		enter(dtls, DTLS_SHAKING, now);
	}
	if (dtls->state != DTLS_SHAKING)
		return dtls->state;
	if (DTLSv1_handle_timeout(dtls->ssl) < 0)
		return fail(dtls, "peer does not answer", now);
	return step(dtls, now);
}

enum dtls_state dtls_state(const struct dtls *dtls)
{
	return dtls->state;
}

static unsigned suite_of(const SRTP_PROTECTION_PROFILE *profile)
{
	switch (profile->id) {
	case SRTP_AES128_CM_SHA1_80:
		return AES_CM_128_HMAC_SHA1_80;
	case SRTP_AES128_CM_SHA1_32:
		return AES_CM_128_HMAC_SHA1_32;
	case SRTP_AEAD_AES_128_GCM:
		return AEAD_AES_128_GCM;
	case SRTP_AEAD_AES_256_GCM:
		return AEAD_AES_256_GCM;
	default:
		return SRTP_NONE;
	}
}

/* Both keys, then both salts, the client's first (RFC 5764 §4.2). */
static void split(const __u8 *material, unsigned suite, bool client, struct srtp_keys *keys)
{
	unsigned key = suite == AEAD_AES_256_GCM ? 32 : 16, salt = srtp_master_length(suite) - key;

	memset(keys, 0, sizeof(*keys));
	keys->suite = (__u8)suite;
	memcpy(keys->master, material + (client ? 0 : key), key);
	memcpy(keys->master + key, material + 2 * key + (client ? 0 : salt), salt);
}

int dtls_keys(const struct dtls *dtls, struct srtp_keys *open, struct srtp_keys *seal)
{
	__u8 material[2 * SRTP_MASTER_BYTES];
	bool client = dtls->wanted.role == DTLS_ACTIVE;
	unsigned suite;

	if (dtls->state != DTLS_CONNECTED)
		return -1;
	suite = suite_of(SSL_get_selected_srtp_profile(dtls->ssl));
	if (suite == SRTP_NONE ||
	    SSL_export_keying_material(dtls->ssl, material, 2 * srtp_master_length(suite), LABEL,
				       strlen(LABEL), NULL, 0, 0) != 1)
		return -1;
	split(material, suite, client, seal);
	split(material, suite, !client, open);
	OPENSSL_cleanse(material, sizeof(material));
	return 0;
}

bool dtls_done(const struct dtls *dtls, __u64 now)
{
	return dtls->state == DTLS_CONNECTED && now - dtls->since >= LINGER;
}

const char *dtls_error(const struct dtls *dtls)
{
	return dtls->error;
}
