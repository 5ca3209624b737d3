/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "flow_crypto.h"

#include <openssl/crypto.h>
#include <stdlib.h>

#include "rtcp_rewrite.h"

static bool same_keys(const struct srtp_keys *one, const struct srtp_keys *other)
{
	return !memcmp(one, other, sizeof(*one));
}

static void close_half(const struct crypto_place *place, struct srtp_context *context, struct srtp_keys *keys)
{
	if (keys->suite == SRTP_NONE)
		return;
	history_store_leave(place->store, context->history);
	srtp_close(context);
	OPENSSL_cleanse(keys, sizeof(*keys));
}

static void open_half(const struct crypto_place *place, const struct flow_slot *slot, bool sends, bool renew,
		      struct srtp_context *context, struct srtp_keys *in_use)
{
	const struct srtp_keys *keys = sends ? &slot->seal_keys : &slot->open_keys;
	__u32 owner = 2 * (__u32)(slot - place->slots) + (sends ? 2 : 1);
	struct srtp_history *history;
	__u8 id[SRTP_ID_BYTES];

	if (same_keys(keys, in_use))
		return;
	close_half(place, context, in_use);
	if (keys->suite == SRTP_NONE)
		return;
	srtp_key_id(keys, sends, slot->wanted.rtcp, id);
	history = history_store_take(place->store, id, owner, sends, renew);
	if (!history)
		return;
	*in_use = *keys;
	if (srtp_open(context, in_use, history, sends)) {
		history_store_leave(place->store, history);
		OPENSSL_cleanse(in_use, sizeof(*in_use));
	}
}

static void update_dtls(const struct crypto_place *place, struct flow_slot *slot)
{
	struct flow_crypto *crypto = slot->crypto;
	const struct engine_dtls *wanted = &slot->wanted.dtls;

	if (!memcmp(&crypto->with, wanted, sizeof(*wanted)))
		return;
	dtls_destroy(crypto->dtls);
	crypto->dtls = NULL;
	crypto->with = *wanted;
	if (wanted->role && !slot->derived)
		crypto->dtls = dtls_create(place->identity, wanted, place->send, slot);
}

static __u8 security_of(const struct flow_crypto *crypto)
{
	if (!crypto->opens && !crypto->seals)
		return ENGINE_PLAIN;
	if ((crypto->opens && !crypto->open_keys.suite) || (crypto->seals && !crypto->seal_keys.suite))
		return ENGINE_WAITING;
	return ENGINE_SECURE;
}

void flow_crypto_update(const struct crypto_place *place, struct flow_slot *slot, bool renew)
{
	bool opens = slot->wanted.dtls.role || slot->open_keys.suite != SRTP_NONE;
	bool seals = slot->partner->wanted.dtls.role || slot->seal_keys.suite != SRTP_NONE;

	if (!opens && !seals) {
		flow_crypto_drop(place, slot);
		return;
	}
	if (!slot->crypto)
		slot->crypto = calloc(1, sizeof(*slot->crypto));
	if (!slot->crypto) {
		slot->security = ENGINE_WAITING;
		return;
	}
	slot->crypto->opens = opens;
	slot->crypto->seals = seals;
	open_half(place, slot, false, renew, &slot->crypto->open, &slot->crypto->open_keys);
	open_half(place, slot, true, renew, &slot->crypto->seal, &slot->crypto->seal_keys);
	update_dtls(place, slot);
	slot->security = security_of(slot->crypto);
}

void flow_crypto_recall(const struct crypto_place *place, struct flow_slot *slot)
{
	if (!slot->wanted.dtls.role || slot->derived)
		return;
	slot->derived = vault_recall(place->vault, &slot->wanted.local, &slot->wanted.dtls, &slot->open_keys,
				     &slot->partner->seal_keys);
}

void flow_crypto_drop(const struct crypto_place *place, struct flow_slot *slot)
{
	struct flow_crypto *crypto = slot->crypto;

	slot->crypto = NULL;
	slot->security = ENGINE_PLAIN;
	if (!crypto)
		return;
	close_half(place, &crypto->open, &crypto->open_keys);
	close_half(place, &crypto->seal, &crypto->seal_keys);
	dtls_destroy(crypto->dtls);
	OPENSSL_cleanse(crypto, sizeof(*crypto));
	free(crypto);
}

int flow_crypto_derive(const struct crypto_place *place, struct flow_slot *slot)
{
	if (dtls_keys(slot->crypto->dtls, &slot->open_keys, &slot->partner->seal_keys))
		return -1;
	slot->derived = 1;
	vault_keep(place->vault, &slot->wanted.local, &slot->wanted.dtls, &slot->open_keys,
		   &slot->partner->seal_keys);
	flow_crypto_update(place, slot, false);
	flow_crypto_update(place, slot->partner, false);
	return 0;
}

static enum reason reason_of(struct flow_slot *slot, enum srtp_status status)
{
	switch (status) {
	case SRTP_OK:
		return REASON_FORWARDED;
	case SRTP_REPLAYED:
		slot->replayed++;
		return REASON_REPLAYED;
	case SRTP_MALFORMED:
	case SRTP_FORGED:
		slot->forged++;
		return REASON_FORGED;
	default:
		return REASON_NO_KEY;
	}
}

enum reason flow_unprotect(struct flow_slot *slot, __u8 *data, size_t *length, bool rtcp)
{
	struct flow_crypto *crypto = slot->crypto;

	if (!crypto || !crypto->opens)
		return REASON_FORWARDED;
	if (!crypto->open.history)
		return REASON_NO_KEY;
	return reason_of(slot, rtcp ? srtcp_unprotect(&crypto->open, data, length)
				    : srtp_unprotect(&crypto->open, data, length));
}

/* The SSRC mask under which a flow sends, 0: none. RTCP speaks of the SSRCs of its RTP. */
static __u32 mask_of(const struct flow_slot *slot)
{
	const struct flow_crypto *crypto =
		slot->wanted.rtcp && slot->companion ? slot->companion->crypto : slot->crypto;

	return crypto && crypto->seal.history ? crypto->seal.history->mask : 0;
}

/* What the other side reports on is what it was sent: its reports name SSRCs under the partner's mask. */
static void mask(const struct flow_slot *slot, __u8 *data, size_t length, bool rtcp)
{
	__u32 ours = mask_of(slot), theirs = mask_of(slot->partner);

	if (rtcp && (ours || theirs))
		rtcp_mask(data, length, ours, theirs);
	else if (ours)
		rtp_mask(data, ours);
}

static bool keyless(const struct flow_slot *slot)
{
	return slot->crypto && slot->crypto->seals && !slot->crypto->seal.history;
}

static enum reason seal(struct flow_slot *slot, __u8 *data, size_t *length, bool rtcp)
{
	struct flow_crypto *crypto = slot->crypto;

	if (!crypto || !crypto->seals)
		return REASON_FORWARDED;
	return reason_of(slot, rtcp ? srtcp_protect(&crypto->seal, data, length)
				    : srtp_protect(&crypto->seal, data, length));
}

enum reason flow_protect(struct flow_slot *slot, __u8 *data, size_t *length, bool rtcp)
{
	if (keyless(slot))
		return REASON_NO_KEY;
	mask(slot, data, *length, rtcp);
	return seal(slot, data, length, rtcp);
}

enum reason flow_protect_report(struct flow_slot *slot, __u8 *data, size_t *length)
{
	if (keyless(slot))
		return REASON_NO_KEY;
	rtcp_mask(data, *length, mask_of(slot), 0);
	return seal(slot, data, length, true);
}
