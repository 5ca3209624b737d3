/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The engine's look at RTP and RTCP, on either kind of port. */
#include <stdint.h>
#include <stdlib.h>

#include "packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (int rtcp = 0; rtcp < 2; rtcp++) {
		enum packet_kind kind = PACKET_RTP;

		if (packet_check(data, size, rtcp, &kind) != REASON_FORWARDED || kind == PACKET_RTCP)
			continue;
		if (packet_rtp_header(data, size) > size || packet_read(data, 1).payload_type > 127)
			abort();
	}
	return 0;
}
