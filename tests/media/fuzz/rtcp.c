/* SPDX-License-Identifier: GPL-3.0-or-later */
/* SSRCs changed in any RTCP: what is changed twice is as it was. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "rtcp_rewrite.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	if (!copy)
		return 0;
	memcpy(copy, data, size);
	for (int twice = 0; twice < 2; twice++)
		rtcp_mask(copy, size, 0x12345678, 0x9abcdef0);
	if (memcmp(copy, data, size))
		abort();
	free(copy);
	return 0;
}
