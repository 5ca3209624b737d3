/* SPDX-License-Identifier: GPL-3.0-or-later */
/* AF_XDP sockets opened, which takes a right, and how a queue's memory is divided. */
#include "xsk.h"

#include <errno.h>
#include <linux/if_xdp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECEIVING      2048 /* frames, at least */
#define RECEIVING_EACH 256
#define SENDING	       1024
#define SENDING_EACH   512

static __u32 power_above(__u32 number)
{
	__u32 power = 1;

	while (power < number)
		power *= 2;
	return power;
}

static __u32 power_below(__u32 number)
{
	__u32 power = power_above(number);

	return power > number ? power / 2 : power;
}

struct xsk_plan xsk_plan(unsigned seats)
{
	__u32 each = power_above(seats * RECEIVING_EACH);
	__u32 receiving = each < RECEIVING ? RECEIVING : each > XSK_PENDING ? XSK_PENDING : each;
	__u32 sending = seats == 1 ? SENDING : SENDING_EACH;

	return (struct xsk_plan){
		.seats = seats,
		.receiving = receiving,
		.own = power_below(receiving / seats),
		.sending = sending,
		.completing = power_above(seats * sending),
	};
}

static size_t frames_bytes(const struct xsk_plan *plan)
{
	return (size_t)(plan->receiving + plan->seats * plan->sending) * XSK_FRAME;
}

size_t xsk_bytes(unsigned seats)
{
	const struct xsk_plan plan = xsk_plan(seats);

	return frames_bytes(&plan) + sizeof(struct xsk_common) + frames_bytes(&plan) / XSK_FRAME;
}

static int set(int descriptor, int option, const void *value, socklen_t length)
{
	return setsockopt(descriptor, SOL_XDP, option, value, length);
}

static int make_ring(int descriptor, int option, __u32 places)
{
	return set(descriptor, option, &places, sizeof(places));
}

/* The kernel keeps the pages, so that nobody need have them mapped here any longer. */
static int give_memory(int descriptor, int memory, const struct xsk_plan *plan)
{
	struct xdp_umem_reg registered = {.len = frames_bytes(plan), .chunk_size = XSK_FRAME};
	void *mapped = mmap(NULL, frames_bytes(plan), PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	int failed;

	if (mapped == MAP_FAILED)
		return -1;
	registered.addr = (__u64)(unsigned long)mapped;
	failed = set(descriptor, XDP_UMEM_REG, &registered, sizeof(registered));
	munmap(mapped, frames_bytes(plan));
	if (failed)
		return -1;
	return make_ring(descriptor, XDP_UMEM_FILL_RING, plan->receiving) ||
			       make_ring(descriptor, XDP_UMEM_COMPLETION_RING, plan->completing)
		       ? -1
		       : 0;
}

static int prepare(int descriptor, int first, int memory, const struct xsk_plan *plan)
{
	if (first < 0 && give_memory(descriptor, memory, plan))
		return -1;
	return make_ring(descriptor, XDP_RX_RING, plan->own) ||
			       make_ring(descriptor, XDP_TX_RING, plan->sending)
		       ? -1
		       : 0;
}

int xsk_open(unsigned ifindex, unsigned queue, unsigned seats, int first, int memory, int *zero_copy)
{
	const struct xsk_plan plan = xsk_plan(seats);
	struct sockaddr_xdp name = {
		.sxdp_family = AF_XDP,
		.sxdp_flags = first < 0 ? XDP_USE_NEED_WAKEUP : XDP_SHARED_UMEM,
		.sxdp_ifindex = ifindex,
		.sxdp_queue_id = queue,
		.sxdp_shared_umem_fd = first < 0 ? 0 : (__u32)first,
	};
	struct xdp_options options = {0};
	socklen_t length = sizeof(options);
	int descriptor = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0), error;

	if (descriptor < 0)
		return -errno;
	if (!prepare(descriptor, first, memory, &plan) &&
	    !bind(descriptor, (struct sockaddr *)&name, sizeof(name)) &&
	    !getsockopt(descriptor, SOL_XDP, XDP_OPTIONS, &options, &length)) {
		*zero_copy = !!(options.flags & XDP_OPTIONS_ZEROCOPY);
		return descriptor;
	}
	error = errno;
	close(descriptor);
	return -error;
}
