/* SPDX-License-Identifier: GPL-3.0-or-later */
/* SSRCs changed in any RTCP: what is changed twice is as it was. And what reports say of loss. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "packet.h"
#include "require.h"
#include "rtcp_report.h"
#include "rtcp_rewrite.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is a valid compound may say anything of what was lost, within bounds. */
static void hear(const uint8_t *data, size_t size)
{
	struct rtcp_heard heard = {0};
	enum packet_kind kind;
	int lost;

	if (packet_check(data, size, true, &kind) != REASON_FORWARDED)
		return;
	rtcp_report_hears(&heard, data, size, 1);
	lost = rtcp_report_lost(data, size);
	REQUIRE(lost >= -1 && lost < 100);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	if (!copy)
		return 0;
	memcpy(copy, data, size);
	hear(copy, size);
	for (int twice = 0; twice < 2; twice++)
		rtcp_mask(copy, size, 0x12345678, 0x9abcdef0);
	if (memcmp(copy, data, size))
		abort();
	free(copy);
	return 0;
}
