/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Consumer of a BPF ring buffer, see kernel/bpf/ringbuf.c: two positions that only grow, records with a
 * header. */
#ifndef VOXDP_EVENTS_SHIM_H
#define VOXDP_EVENTS_SHIM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <linux/bpf.h>
#include "flow.h"

#define RECORD_ALIGNMENT 8

/*
 * Copies up to `capacity` records of at most `size` bytes, and not fewer than `least`, out to places `size`
 * bytes apart, and gives their room back; returns how many. `mask`: size of the data - 1.
 */
static uint32_t ring_drain(void *consumer_page, const void *producer_pages, uint32_t page_size, uint64_t mask,
			   void *records, size_t least, size_t size, uint32_t capacity)
{
	unsigned long *consumer = consumer_page;
	const unsigned long *producer = producer_pages;
	const uint8_t *data = (const uint8_t *)producer_pages + page_size;
	unsigned long position = __atomic_load_n(consumer, __ATOMIC_ACQUIRE);
	uint32_t taken = 0;

	while (taken < capacity && position < __atomic_load_n(producer, __ATOMIC_ACQUIRE)) {
		const uint8_t *record = data + (position & mask);
		uint32_t header = __atomic_load_n((const uint32_t *)(const void *)record, __ATOMIC_ACQUIRE);
		uint32_t length = header & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);

		if (header & BPF_RINGBUF_BUSY_BIT)
			break;
		if (!(header & BPF_RINGBUF_DISCARD_BIT) && length >= least && length <= size)
			memcpy((uint8_t *)records + size * taken++, record + BPF_RINGBUF_HDR_SZ, length);
		position += (length + BPF_RINGBUF_HDR_SZ + RECORD_ALIGNMENT - 1) & ~(RECORD_ALIGNMENT - 1ul);
		__atomic_store_n(consumer, position, __ATOMIC_RELEASE);
	}
	return taken;
}

static uint32_t events_drain(void *consumer_page, const void *producer_pages, uint32_t page_size,
			     uint64_t mask, struct event *events, uint32_t capacity)
{
	return ring_drain(consumer_page, producer_pages, page_size, mask, events, sizeof(*events),
			  sizeof(*events), capacity);
}

static uint32_t copies_drain(void *consumer_page, const void *producer_pages, uint32_t page_size,
			     uint64_t mask, struct copy *copies, uint32_t capacity)
{
	return ring_drain(consumer_page, producer_pages, page_size, mask, copies,
			  offsetof(struct copy, bytes), sizeof(*copies), capacity);
}

#endif
