/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Telephone events: reports of 6 bytes, what time stamp, and the payload. */
#include "dtmf.h"
#include "require.h"

#define MILLISECOND 1000000ULL

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dtmf_receiver receiver = {0};
	uint64_t now = 1;

	for (; size >= 6; data += 6, size -= 6) {
		now += data[1] * MILLISECOND;
		dtmf_receive(&receiver, (uint32_t)data[0] << 10, data + 2, data[1] % 5, now);
		dtmf_expire(&receiver, now);
		REQUIRE(receiver.now.event < 16 && dtmf_duration(&receiver) < 0x1000000);
	}
	return 0;
}
