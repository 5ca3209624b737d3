/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The session keys of one flow, as its worker holds them: of what comes in, of what goes out, and the way to
 * both. */
#ifndef VOXDP_FLOW_CRYPTO_H
#define VOXDP_FLOW_CRYPTO_H

#include "dtls.h"
#include "fetch.h"
#include "flow_slot.h"
#include "history_store.h"
#include "srtp.h"
#include "vault.h"

struct flow_crypto {
	bool opens, seals; /* must packets be unprotected, protected? */
	struct dtls *dtls; /* under way, or just over */
	struct srtp_context open, seal;
	/* That the contexts were made of; suite SRTP_NONE: no context. */
	struct srtp_keys open_keys, seal_keys;
	struct engine_dtls with; /* whom `dtls` is with */
};

/* Three steps to have the memory that a packet of the flow needs fetched, each once the one before has had
 * time.
 */
static inline void flow_fetch(const struct flow_slot *slot)
{
	fetch(slot, offsetof(struct flow_slot, wanted.open));
}

static inline void flow_fetch_crypto(const struct flow_slot *slot)
{
	if (slot->crypto) {
		srtp_fetch(&slot->crypto->open);
		srtp_fetch(&slot->crypto->seal);
	}
}

static inline void flow_fetch_keys(const struct flow_slot *slot)
{
	const struct flow_crypto *crypto = slot->crypto;

	if (crypto && crypto->open.history)
		srtp_fetch_behind(&crypto->open);
	if (crypto && crypto->seal.history)
		srtp_fetch_behind(&crypto->seal);
}

/* Where keys find their history, and DTLS its certificate. */
struct crypto_place {
	struct history_store *store;
	struct vault *vault;
	const struct dtls_identity *identity;
	const struct flow_slot *slots;
	dtls_send send;
};

/*
 * Makes the keys in use those of the slot; what has not changed goes on. renew: as history_store_take. The
 * slot's security tells how that went.
 */
void flow_crypto_update(const struct crypto_place *place, struct flow_slot *slot, bool renew);

/* A flow whose keys DTLS gave to an engine before has them still. Before flow_crypto_update of either half.
 */
void flow_crypto_recall(const struct crypto_place *place, struct flow_slot *slot);

/* Wipes and frees all of it. */
void flow_crypto_drop(const struct crypto_place *place, struct flow_slot *slot);

/* DTLS has given keys: for what this flow receives, and for what its partner sends. 0 or -1. */
int flow_crypto_derive(const struct crypto_place *place, struct flow_slot *slot);

/* REASON_FORWARDED, or why not; *length changes with the packet. */
enum reason flow_unprotect(struct flow_slot *slot, __u8 *data, size_t *length, bool rtcp);
enum reason flow_protect(struct flow_slot *slot, __u8 *data, size_t *length, bool rtcp);

/* The same for RTCP of our own, which names whom it reports on as they name themselves. */
enum reason flow_protect_report(struct flow_slot *slot, __u8 *data, size_t *length);

#endif
