/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Many BPF_PROG_TEST_RUN in one call, since a million of them each from Python would take minutes. */
#include <linux/bpf.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "flow.h"

#define FRAME_BYTES 2048

struct step {
	uint32_t index; /* of the flow whose last_seen is to be told */
	uint32_t length;
	uint32_t verdict;
	uint32_t length_after;
	uint64_t now; /* the flow's last_seen if the packet changed it, else a moment before it */
	uint8_t frame[FRAME_BYTES];
	uint8_t frame_after[FRAME_BYTES];
};

static uint64_t nanoseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Returns how many steps were run; fewer than `count` where one failed. */
uint32_t run_steps(int program, const struct flow *flows, struct step *steps, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct step *step = &steps[i];
		const volatile __u64 *last_seen = &flows[step->index].track.last_seen;
		union bpf_attr attributes;
		uint64_t before = *last_seen;

		memset(&attributes, 0, sizeof(attributes));
		attributes.test.prog_fd = program;
		attributes.test.data_in = (uint64_t)(uintptr_t)step->frame;
		attributes.test.data_size_in = step->length;
		attributes.test.data_out = (uint64_t)(uintptr_t)step->frame_after;
		attributes.test.data_size_out = FRAME_BYTES;
		step->now = nanoseconds();
		if (syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attributes, sizeof(attributes)))
			return i;
		step->verdict = attributes.test.retval;
		step->length_after = attributes.test.data_size_out;
		if (*last_seen != before)
			step->now = *last_seen;
	}
	return count;
}
