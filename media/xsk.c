/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "xsk.h"

#include <errno.h>
#include <linux/if_xdp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define AT_ONCE 32 /* frames that the kernel sends in one call where it copies them */

static int set(int descriptor, int option, const void *value, socklen_t length)
{
	return setsockopt(descriptor, SOL_XDP, option, value, length);
}

static int make_rings(int descriptor)
{
	static const struct {
		int option, places;
	} rings[] = {
		{XDP_UMEM_FILL_RING, XSK_RECEIVING},
		{XDP_UMEM_COMPLETION_RING, XSK_SENDING},
		{XDP_RX_RING, XSK_RECEIVING},
		{XDP_TX_RING, XSK_SENDING},
	};

	for (unsigned i = 0; i < sizeof(rings) / sizeof(rings[0]); i++)
		if (set(descriptor, rings[i].option, &rings[i].places, sizeof(rings[i].places)))
			return -1;
	return 0;
}

/* The kernel keeps the pages, so that nobody need have them mapped here any longer. */
static int give_memory(int descriptor, int memory)
{
	struct xdp_umem_reg registered = {.len = XSK_MEMORY, .chunk_size = XSK_FRAME};
	void *mapped = mmap(NULL, XSK_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	int failed;

	if (mapped == MAP_FAILED)
		return -1;
	registered.addr = (__u64)(unsigned long)mapped;
	failed = set(descriptor, XDP_UMEM_REG, &registered, sizeof(registered));
	munmap(mapped, XSK_MEMORY);
	return failed;
}

int xsk_open(unsigned ifindex, unsigned queue, int memory, int *zero_copy)
{
	struct sockaddr_xdp name = {
		.sxdp_family = AF_XDP,
		.sxdp_flags = XDP_USE_NEED_WAKEUP,
		.sxdp_ifindex = ifindex,
		.sxdp_queue_id = queue,
	};
	struct xdp_options options = {0};
	socklen_t length = sizeof(options);
	int descriptor = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0), error;

	if (descriptor < 0)
		return -errno;
	if (!give_memory(descriptor, memory) && !make_rings(descriptor) &&
	    !bind(descriptor, (struct sockaddr *)&name, sizeof(name)) &&
	    !getsockopt(descriptor, SOL_XDP, XDP_OPTIONS, &options, &length)) {
		*zero_copy = !!(options.flags & XDP_OPTIONS_ZEROCOPY);
		return descriptor;
	}
	error = errno;
	close(descriptor);
	return -error;
}

static int map_ring(struct xsk_ring *ring, int descriptor, const struct xdp_ring_offset *offsets, __u32 size,
		    size_t place_bytes, off_t page)
{
	__u8 *mapped = mmap(NULL, offsets->desc + size * place_bytes, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_POPULATE, descriptor, page);

	if (mapped == MAP_FAILED)
		return -1;
	ring->producer = (__u32 *)(void *)(mapped + offsets->producer);
	ring->consumer = (__u32 *)(void *)(mapped + offsets->consumer);
	ring->flags = (__u32 *)(void *)(mapped + offsets->flags);
	ring->places = mapped + offsets->desc;
	ring->size = size;
	return 0;
}

static int map_rings(struct xsk *xsk, const struct xdp_mmap_offsets *offsets)
{
	int descriptor = xsk->descriptor;
	const size_t packet = sizeof(struct xdp_desc), address = sizeof(__u64);

	if (map_ring(&xsk->receive, descriptor, &offsets->rx, XSK_RECEIVING, packet, XDP_PGOFF_RX_RING) ||
	    map_ring(&xsk->send, descriptor, &offsets->tx, XSK_SENDING, packet, XDP_PGOFF_TX_RING) ||
	    map_ring(&xsk->fill, descriptor, &offsets->fr, XSK_RECEIVING, address, XDP_UMEM_PGOFF_FILL_RING))
		return -1;
	return map_ring(&xsk->complete, descriptor, &offsets->cr, XSK_SENDING, address,
			(off_t)XDP_UMEM_PGOFF_COMPLETION_RING);
}

/* The first frames are the kernel's to fill, the others ours to send with. */
static void share_frames(struct xsk *xsk)
{
	__u64 *places = xsk->fill.places;

	for (__u32 i = 0; i < XSK_RECEIVING; i++)
		places[i] = (__u64)i * XSK_FRAME;
	xsk->fill.mine = XSK_RECEIVING;
	__atomic_store_n(xsk->fill.producer, XSK_RECEIVING, __ATOMIC_RELEASE);
	for (__u32 i = 0; i < XSK_SENDING; i++)
		xsk->spare[i] = XSK_RECEIVING + i;
	xsk->spares = XSK_SENDING;
}

int xsk_attach(struct xsk *xsk, int descriptor, int memory)
{
	struct xdp_mmap_offsets offsets;
	socklen_t length = sizeof(offsets);

	memset(xsk, 0, sizeof(*xsk));
	xsk->descriptor = descriptor;
	xsk->memory = mmap(NULL, XSK_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	if (xsk->memory == MAP_FAILED) {
		xsk->memory = NULL;
		return -1;
	}
	if (!getsockopt(descriptor, SOL_XDP, XDP_MMAP_OFFSETS, &offsets, &length) &&
	    !map_rings(xsk, &offsets)) {
		share_frames(xsk);
		return 0;
	}
	xsk_detach(xsk);
	return -1;
}

static void unmap_ring(const struct xsk_ring *ring, size_t place_bytes)
{
	__u8 *first = (__u8 *)ring->producer, *places = ring->places;
	__u8 *page;

	if (!first)
		return;
	page = (__u8 *)((unsigned long)first & ~((unsigned long)getpagesize() - 1));
	munmap(page, (size_t)(places - page) + ring->size * place_bytes);
}

void xsk_detach(struct xsk *xsk)
{
	unmap_ring(&xsk->receive, sizeof(struct xdp_desc));
	unmap_ring(&xsk->send, sizeof(struct xdp_desc));
	unmap_ring(&xsk->fill, sizeof(__u64));
	unmap_ring(&xsk->complete, sizeof(__u64));
	if (xsk->memory)
		munmap(xsk->memory, XSK_MEMORY);
	memset(xsk, 0, sizeof(*xsk));
	xsk->descriptor = -1;
}

/* How many places the kernel has filled that we have not looked at. */
static __u32 waiting(struct xsk_ring *ring)
{
	if (ring->theirs == ring->mine)
		ring->theirs = __atomic_load_n(ring->producer, __ATOMIC_ACQUIRE);
	return ring->theirs - ring->mine;
}

/* Whatever stands in a ring stays within the memory: nothing there is to be trusted with an address. */
static bool is_frame(__u64 address, __u32 length)
{
	return address < XSK_MEMORY && address % XSK_FRAME + length <= XSK_FRAME;
}

unsigned xsk_take(struct xsk *xsk, struct xsk_frame *frames, unsigned most)
{
	struct xsk_ring *ring = &xsk->receive;
	const struct xdp_desc *places = ring->places;
	__u32 there = waiting(ring), count = there < most ? there : most;

	for (__u32 i = 0; i < count; i++) {
		const struct xdp_desc *place = &places[(ring->mine + i) & (ring->size - 1)];
		bool good = is_frame(place->addr, place->len);

		frames[i].place = place->addr;
		frames[i].data = good ? xsk->memory + place->addr : xsk->memory;
		frames[i].length = good ? place->len : 0;
	}
	ring->mine += count;
	__atomic_store_n(ring->consumer, ring->mine, __ATOMIC_RELEASE);
	return count;
}

void xsk_give(struct xsk *xsk, const struct xsk_frame *frames, unsigned count)
{
	struct xsk_ring *ring = &xsk->fill;
	__u64 *places = ring->places;

	for (unsigned i = 0; i < count; i++)
		places[ring->mine++ & (ring->size - 1)] = frames[i].place / XSK_FRAME * XSK_FRAME;
	__atomic_store_n(ring->producer, ring->mine, __ATOMIC_RELEASE);
}

static void reclaim(struct xsk *xsk)
{
	struct xsk_ring *ring = &xsk->complete;
	const __u64 *places = ring->places;
	__u32 count = waiting(ring);

	for (; count && xsk->spares < XSK_SENDING; count--)
		xsk->spare[xsk->spares++] =
			(__u32)(places[ring->mine++ & (ring->size - 1)] % XSK_MEMORY / XSK_FRAME);
	__atomic_store_n(ring->consumer, ring->mine, __ATOMIC_RELEASE);
}

__u8 *xsk_room(struct xsk *xsk)
{
	if (!xsk->spares)
		reclaim(xsk);
	if (!xsk->spares) {
		xsk_kick(xsk);
		reclaim(xsk);
	}
	return xsk->spares ? xsk->memory + (size_t)xsk->spare[xsk->spares - 1] * XSK_FRAME : NULL;
}

/* A frame is on the ring or spare, and the ring has a place for each: it cannot be full. */
void xsk_put(struct xsk *xsk, size_t length)
{
	struct xsk_ring *ring = &xsk->send;
	struct xdp_desc *places = ring->places;

	places[ring->mine++ & (ring->size - 1)] = (struct xdp_desc){
		.addr = (__u64)xsk->spare[--xsk->spares] * XSK_FRAME,
		.len = (__u32)length,
	};
	if (ring->mine - __atomic_load_n(ring->producer, __ATOMIC_RELAXED) == AT_ONCE)
		xsk_kick(xsk);
}

/* Has the kernel not taken everything yet? */
static bool is_behind(const struct xsk_ring *ring)
{
	return __atomic_load_n(ring->consumer, __ATOMIC_ACQUIRE) != ring->mine;
}

static bool asks(const struct xsk_ring *ring)
{
	return __atomic_load_n(ring->flags, __ATOMIC_RELAXED) & XDP_RING_NEED_WAKEUP;
}

bool xsk_kick(struct xsk *xsk)
{
	struct xsk_ring *ring = &xsk->send;
	unsigned tries = (ring->mine - __atomic_load_n(ring->consumer, __ATOMIC_ACQUIRE)) / AT_ONCE + 2;

	__atomic_store_n(ring->producer, ring->mine, __ATOMIC_RELEASE);
	while (asks(ring) && tries-- && is_behind(ring))
		if (sendto(xsk->descriptor, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0 && errno != EAGAIN)
			break;
	return !asks(ring) || !is_behind(ring);
}

__u64 xsk_dropped(const struct xsk *xsk)
{
	struct xdp_statistics found = {0};
	socklen_t length = sizeof(found);

	getsockopt(xsk->descriptor, SOL_XDP, XDP_STATISTICS, &found, &length);
	return found.rx_dropped + found.rx_ring_full + found.rx_fill_ring_empty_descs;
}
