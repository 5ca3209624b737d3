/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The first byte names a suite. The rest is opened as it came, then protected and opened: it comes back,
 * once. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "packet.h"
#include "srtp.h"

#define SUITES 9

typedef enum srtp_status (*change)(struct srtp_context *context, __u8 *data, size_t *length);

static struct srtp_context seals[SUITES], opens[SUITES];
static struct srtp_history sent, received;
static struct srtp_keys keys[SUITES];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void open_all(void)
{
	for (unsigned suite = 1; suite < SUITES; suite++) {
		keys[suite] =
			(struct srtp_keys){.suite = (__u8)suite, .mki_length = suite % 3, .mki = {1, 2}};
		if (srtp_open(&seals[suite], &keys[suite], &sent, true) ||
		    srtp_open(&opens[suite], &keys[suite], &received, false))
			abort();
	}
}

static void there_and_back(unsigned suite, uint8_t *buffer, const uint8_t *data, size_t size, change protect,
			   change unprotect)
{
	size_t length = size;

	memset(&sent, 0, sizeof(sent));
	memset(&received, 0, sizeof(received));
	memcpy(buffer, data, size);
	if (protect(&seals[suite], buffer, &length) != SRTP_OK)
		return;
	if (unprotect(&opens[suite], buffer, &length) != SRTP_OK || length != size ||
	    memcmp(buffer, data, size))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned suite = size ? data[0] % (SUITES - 1) + 1 : 0;
	size_t length = size ? size - 1 : 0;
	uint8_t *exact, *roomy;

	if (!length)
		return 0;
	if (!opens[1].history)
		open_all();
	exact = malloc(length);
	roomy = malloc(length + SRTP_TRAILER);
	memcpy(exact, data + 1, length);
	srtp_unprotect(&opens[suite], exact, &length);
	length = size - 1;
	memcpy(exact, data + 1, length);
	srtcp_unprotect(&opens[suite], exact, &length);
	there_and_back(suite, roomy, data + 1, size - 1, srtp_protect, srtp_unprotect);
	there_and_back(suite, roomy, data + 1, size - 1, srtcp_protect, srtcp_unprotect);
	free(exact);
	free(roomy);
	return 0;
}
