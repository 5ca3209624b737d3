/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a peer may send in place of its handshake: datagrams, each behind its length, to either role. */
#include <stdint.h>
#include <stdlib.h>

#include "dtls.h"

#define SECOND 1000000000ULL

static struct dtls_identity identity;
static struct vault_identity kept;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void nowhere(void *where, const __u8 *data, size_t length)
{
	(void)where, (void)data, (void)length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct engine_dtls wanted = {.role = DTLS_ACTIVE + (size && data[0] % 2), .bytes = 32};
	struct srtp_keys open, seal;
	struct dtls *dtls;
	__u64 now = SECOND;

	if (!identity.context && dtls_identity_create(&identity, &kept))
		abort();
	dtls = dtls_create(&identity, &wanted, nowhere, NULL);
	if (!dtls)
		return 0;
	dtls_tick(dtls, now);
	for (size_t at = 1; at < size;) {
		size_t length = data[at] % 128 + 1u;

		at++;
		if (length > size - at)
			length = size - at;
		if (dtls_owns(data + at, length))
			dtls_receive(dtls, data + at, length, now);
		at += length;
	}
	if (dtls_tick(dtls, now + 2 * SECOND) == DTLS_CONNECTED || !dtls_keys(dtls, &open, &seal))
		abort(); /* nobody has the key of an all-zero fingerprint */
	dtls_destroy(dtls);
	return 0;
}
