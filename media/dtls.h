/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * DTLS-SRTP (RFC 5763, RFC 5764): a handshake over the flow's own socket that ends with keys for both
 * directions. The peer is who its certificate's hash, from the session description, says; nothing else of it
 * is believed.
 */
#ifndef VOXDP_DTLS_H
#define VOXDP_DTLS_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <linux/types.h>

#include "engine.h"
#include "vault.h"

/* Our certificate (ECDSA P-256, self-signed, as RFC 5763 §5 would have it) and what all handshakes share. */
struct dtls_identity {
	SSL_CTX *context;
	__u8 hash[ENGINE_OWN_HASH];
};

/* Sends one datagram to the peer. */
typedef void (*dtls_send)(void *where, const __u8 *data, size_t length);

enum dtls_state {
	DTLS_SHAKING,
	DTLS_CONNECTED, /* keys are there */
	DTLS_FAILED,	/* see dtls_error; a new handshake begins by itself */
};

struct dtls;

/* The certificate that is kept, as long as it is good for a month yet, or a new one, which is kept then. 0,
 * or -1 if the crypto library fails. */
int dtls_identity_create(struct dtls_identity *identity, struct vault_identity *kept);

void dtls_identity_destroy(struct dtls_identity *identity);

/* A handshake in the role that `wanted` says; dtls_tick begins it. NULL: no memory. */
struct dtls *dtls_create(const struct dtls_identity *identity, const struct engine_dtls *wanted,
			 dtls_send send, void *where);

void dtls_destroy(struct dtls *dtls);

/* Is this datagram DTLS, by its first byte (RFC 7983)? */
bool dtls_owns(const __u8 *data, size_t length);

/* A datagram of the peer came. */
enum dtls_state dtls_receive(struct dtls *dtls, const __u8 *data, size_t length, __u64 now);

/* To be called twenty times a second: sends again what was lost, and begins anew after a failure. */
enum dtls_state dtls_tick(struct dtls *dtls, __u64 now);

enum dtls_state dtls_state(const struct dtls *dtls);

/* Keys for what comes in and what goes out, once connected. 0 or -1. */
int dtls_keys(const struct dtls *dtls, struct srtp_keys *open, struct srtp_keys *seal);

/* Whether nothing more is to be expected of it: long enough connected that the peer has our last flight. */
bool dtls_done(const struct dtls *dtls, __u64 now);

/* Why the last handshake failed: one short line. */
const char *dtls_error(const struct dtls *dtls);

#endif
