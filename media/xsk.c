/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "xsk.h"

#include <errno.h>
#include <linux/if_xdp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define AT_ONCE 32 /* frames that the kernel sends in one call where it copies them */

static __u32 frame_count(const struct xsk_plan *plan)
{
	return plan->receiving + plan->seats * plan->sending;
}

/* Our own frames to send with. */
static __u32 first_own(const struct xsk *xsk)
{
	return xsk->plan.receiving + xsk->seat * xsk->plan.sending;
}

static __u8 *state_of(struct xsk *xsk, __u32 frame)
{
	return &xsk->common->frames[frame];
}

static void set_state(struct xsk *xsk, __u32 frame, __u8 state)
{
	__atomic_store_n(state_of(xsk, frame), state, __ATOMIC_RELAXED);
}

/* The rings that all share, for a moment; who finds them taken comes back later. */
static bool try_hold(struct xsk *xsk)
{
	__u32 nobody = 0;

	return __atomic_compare_exchange_n(&xsk->common->holder, &nobody, xsk->seat + 1, false,
					   __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static void release(struct xsk *xsk)
{
	__atomic_store_n(&xsk->common->holder, 0, __ATOMIC_RELEASE);
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
	const struct xsk_plan *plan = &xsk->plan;
	int descriptor = xsk->descriptor;
	const size_t packet = sizeof(struct xdp_desc), address = sizeof(__u64);

	if (map_ring(&xsk->receive, descriptor, &offsets->rx, plan->own, packet, XDP_PGOFF_RX_RING) ||
	    map_ring(&xsk->send, descriptor, &offsets->tx, plan->sending, packet, XDP_PGOFF_TX_RING) ||
	    map_ring(&xsk->fill, descriptor, &offsets->fr, plan->receiving, address,
		     XDP_UMEM_PGOFF_FILL_RING))
		return -1;
	return map_ring(&xsk->complete, descriptor, &offsets->cr, plan->completing, address,
			(off_t)XDP_UMEM_PGOFF_COMPLETION_RING);
}

/* The first of all gives the kernel every frame to receive with. */
static void fill_first(struct xsk *xsk)
{
	__u64 *places = xsk->fill.places;

	if (__atomic_load_n(xsk->fill.producer, __ATOMIC_ACQUIRE))
		return;
	for (__u32 i = 0; i < xsk->plan.receiving; i++)
		places[i] = (__u64)i * XSK_FRAME;
	__atomic_store_n(xsk->fill.producer, xsk->plan.receiving, __ATOMIC_RELEASE);
}

/* Frames of a predecessor: those that it had in hand go back; of its own, those not waiting to be sent are
 * free. */
static void take_frames_over(struct xsk *xsk)
{
	const struct xsk_ring *send = &xsk->send;
	const struct xdp_desc *places = send->places;
	__u32 from = __atomic_load_n(send->consumer, __ATOMIC_ACQUIRE);

	for (__u32 frame = 0; frame < xsk->plan.receiving; frame++)
		if (*state_of(xsk, frame) == xsk->seat + 1)
			xsk->pending[xsk->pending_count++] = frame;
	for (__u32 i = 0; i < xsk->plan.sending; i++)
		set_state(xsk, first_own(xsk) + i, 0);
	for (; from != send->mine; from++) {
		__u64 frame = places[from & (send->size - 1)].addr / XSK_FRAME;

		if (frame < frame_count(&xsk->plan))
			set_state(xsk, (__u32)frame, 1);
	}
}

/* Where a predecessor was, or at the beginning. Nobody but its successor lets go of what it held. */
static void begin(struct xsk *xsk)
{
	__u32 former = xsk->seat + 1;

	xsk->receive.mine = xsk->receive.theirs = __atomic_load_n(xsk->receive.consumer, __ATOMIC_RELAXED);
	xsk->send.mine = __atomic_load_n(xsk->send.producer, __ATOMIC_RELAXED);
	__atomic_compare_exchange_n(&xsk->common->holder, &former, 0, false, __ATOMIC_ACQ_REL,
				    __ATOMIC_RELAXED);
	if (!xsk->seat)
		fill_first(xsk);
	take_frames_over(xsk);
}

int xsk_attach(struct xsk *xsk, int descriptor, int memory, unsigned seats, unsigned seat)
{
	struct xdp_mmap_offsets offsets;
	socklen_t length = sizeof(offsets);

	memset(xsk, 0, sizeof(*xsk));
	xsk->descriptor = descriptor;
	xsk->plan = xsk_plan(seats);
	xsk->seat = seat;
	xsk->memory = mmap(NULL, xsk_bytes(seats), PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	if (xsk->memory == MAP_FAILED) {
		xsk->memory = NULL;
		return -1;
	}
	xsk->common =
		(struct xsk_common *)(void *)(xsk->memory + (size_t)frame_count(&xsk->plan) * XSK_FRAME);
	if (!getsockopt(descriptor, SOL_XDP, XDP_MMAP_OFFSETS, &offsets, &length) &&
	    !map_rings(xsk, &offsets)) {
		begin(xsk);
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
		munmap(xsk->memory, xsk_bytes(xsk->plan.seats));
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
static bool is_frame(const struct xsk *xsk, __u64 address, __u32 length)
{
	return address / XSK_FRAME < xsk->plan.receiving && address % XSK_FRAME + length <= XSK_FRAME;
}

unsigned xsk_take(struct xsk *xsk, struct xsk_frame *frames, unsigned most)
{
	struct xsk_ring *ring = &xsk->receive;
	const struct xdp_desc *places = ring->places;
	__u32 there = waiting(ring), count = there < most ? there : most, taken = 0;

	for (__u32 i = 0; i < count; i++) {
		const struct xdp_desc *place = &places[(ring->mine + i) & (ring->size - 1)];

		if (!is_frame(xsk, place->addr, place->len))
			continue;
		set_state(xsk, (__u32)(place->addr / XSK_FRAME), (__u8)(xsk->seat + 1));
		frames[taken++] = (struct xsk_frame){xsk->memory + place->addr, place->len, place->addr};
	}
	ring->mine += count;
	__atomic_store_n(ring->consumer, ring->mine, __ATOMIC_RELEASE);
	return taken;
}

/* Another may have put frames into the ring since we did. */
static void give_pending(struct xsk *xsk)
{
	struct xsk_ring *ring = &xsk->fill;
	__u64 *places = ring->places;
	__u32 place;

	if (!xsk->pending_count || !try_hold(xsk))
		return;
	place = __atomic_load_n(ring->producer, __ATOMIC_RELAXED);
	for (__u32 i = 0; i < xsk->pending_count; i++) {
		places[place++ & (ring->size - 1)] = (__u64)xsk->pending[i] * XSK_FRAME;
		set_state(xsk, xsk->pending[i], 0);
	}
	__atomic_store_n(ring->producer, place, __ATOMIC_RELEASE);
	xsk->pending_count = 0;
	release(xsk);
}

void xsk_give(struct xsk *xsk, const struct xsk_frame *frames, unsigned count)
{
	for (unsigned i = 0; i < count && xsk->pending_count < XSK_PENDING; i++)
		xsk->pending[xsk->pending_count++] = (__u32)(frames[i].place / XSK_FRAME);
	give_pending(xsk);
}

/* What the kernel has sent is its owner's again, whoever that is. */
static void reclaim(struct xsk *xsk)
{
	struct xsk_ring *ring = &xsk->complete;
	const __u64 *places = ring->places;
	__u32 count = frame_count(&xsk->plan);

	if (!try_hold(xsk))
		return;
	ring->mine = ring->theirs = __atomic_load_n(ring->consumer, __ATOMIC_RELAXED);
	for (__u32 there = waiting(ring); there; there--) {
		__u64 frame = places[ring->mine++ & (ring->size - 1)] / XSK_FRAME;

		if (frame >= xsk->plan.receiving && frame < count)
			set_state(xsk, (__u32)frame, 0);
	}
	__atomic_store_n(ring->consumer, ring->mine, __ATOMIC_RELEASE);
	release(xsk);
}

/* Frames come back in the order in which they were sent, but for those of a predecessor. */
static __u8 *find_room(struct xsk *xsk)
{
	for (__u32 i = 0; i < xsk->plan.sending; i++) {
		__u32 frame = first_own(xsk) + xsk->next;

		if (!__atomic_load_n(state_of(xsk, frame), __ATOMIC_RELAXED))
			return xsk->memory + (size_t)frame * XSK_FRAME;
		xsk->next = (xsk->next + 1) % xsk->plan.sending;
	}
	return NULL;
}

static bool has_room(struct xsk *xsk)
{
	return !__atomic_load_n(state_of(xsk, first_own(xsk) + xsk->next), __ATOMIC_RELAXED);
}

__u8 *xsk_room(struct xsk *xsk)
{
	if (!has_room(xsk))
		reclaim(xsk);
	if (!has_room(xsk)) {
		xsk_kick(xsk);
		reclaim(xsk);
	}
	return find_room(xsk);
}

/* A frame is on the ring or free, and the ring has a place for each: it cannot be full. */
void xsk_put(struct xsk *xsk, size_t length)
{
	struct xsk_ring *ring = &xsk->send;
	struct xdp_desc *places = ring->places;
	__u32 frame = first_own(xsk) + xsk->next;

	set_state(xsk, frame, 1);
	xsk->next = (xsk->next + 1) % xsk->plan.sending;
	places[ring->mine++ & (ring->size - 1)] = (struct xdp_desc){
		.addr = (__u64)frame * XSK_FRAME,
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

	give_pending(xsk);
	__atomic_store_n(ring->producer, ring->mine, __ATOMIC_RELEASE);
	while (asks(ring) && tries-- && is_behind(ring))
		if (sendto(xsk->descriptor, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0 && errno != EAGAIN)
			break;
	return (!asks(ring) || !is_behind(ring)) && !xsk->pending_count;
}

__u64 xsk_dropped(const struct xsk *xsk)
{
	struct xdp_statistics found = {0};
	socklen_t length = sizeof(found);

	getsockopt(xsk->descriptor, SOL_XDP, XDP_STATISTICS, &found, &length);
	return found.rx_dropped + found.rx_ring_full + found.rx_fill_ring_empty_descs;
}
