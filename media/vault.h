/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What DTLS has agreed on, in a file that outlives the engine: its certificate, and the keys of each flow
 * whose handshake is over. A flow that is opened anew by the next engine goes on with them, for its peer
 * knows nothing of that and will not shake hands again. As secret as the live journal, which has the other
 * keys.
 */
#ifndef VOXDP_VAULT_H
#define VOXDP_VAULT_H

#include <stdbool.h>
#include <stddef.h>

#include "engine.h"

#define VAULT_IDENTITY_BYTES 1024 /* room for a private key or a certificate */

/* One flow's keys; free where the vault's name of it is 0. */
struct vault_entry {
	__u32 engine; /* which run used it last */
	__u32 whole;  /* written last, for its writer may be killed at any moment */
	struct engine_key local;
	struct engine_dtls with;
	struct srtp_keys open, seal;
};

/* DER; 0 bytes: none. */
struct vault_identity {
	__u32 key_bytes;
	__u32 certificate_bytes;
	__u8 key[VAULT_IDENTITY_BYTES];
	__u8 certificate[VAULT_IDENTITY_BYTES];
};

struct vault_header {
	__u64 magic;
	__u32 capacity;
	__u32 engine; /* which run this is */
	struct vault_identity identity;
};

/* All of it is shared by the engine's processes. */
struct vault {
	struct vault_header *header;
	__u64 *names; /* by place: a hash of the flow's key, 0: free */
	struct vault_entry *entries;
	size_t bytes;
};

/* Maps `path`, or memory of our own if it is NULL. 0, or -1 with errno. */
int vault_open(struct vault *vault, const char *path, __u32 capacity);

void vault_close(struct vault *vault);

/* Keeps what a handshake has given. A flow has one owner, so that nobody else writes of the same one. */
void vault_keep(struct vault *vault, const struct engine_key *local, const struct engine_dtls *with,
		const struct srtp_keys *open, const struct srtp_keys *seal);

/* Whether there are keys of this flow with this peer. */
bool vault_recall(struct vault *vault, const struct engine_key *local, const struct engine_dtls *with,
		  struct srtp_keys *open, struct srtp_keys *seal);

/* The flow is no more, and nor are its keys. */
void vault_forget(struct vault *vault, const struct engine_key *local);

#endif
