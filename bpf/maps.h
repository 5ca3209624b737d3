/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The maps of the relay and its configuration, which the loader writes before the program is verified. */
#ifndef VOXDP_MAPS_H
#define VOXDP_MAPS_H

#define EVENT_RING_BYTES   (1024 * 1024)
#define MIRROR_RING_BYTES  (4 * 1024 * 1024)
#define CAPTURE_RING_BYTES (1024 * 1024)
#define SOURCES		   16384 /* senders of unmatched packets that are told apart */
#define ADDRESS_WORDS	   4

/* One entry per relay address and port; the loader sets the size to address_count * FLOWS_PER_ADDRESS. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, FLOWS_PER_ADDRESS);
	__type(key, __u32);
	__type(value, struct flow);
} flows SEC(".maps");

/* As many as flows, at the same indexes. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, FLOWS_PER_ADDRESS);
	__type(key, __u32);
	__type(value, struct flow_ledger);
} ledgers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASONS);
	__type(key, __u32);
	__type(value, struct reason_count);
} reasons SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, EVENT_RING_BYTES);
} events SEC(".maps");

/* Copies of RTP for recording, and of frames for captures; nobody is woken for them. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, MIRROR_RING_BYTES);
} mirror SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, CAPTURE_RING_BYTES);
} captures SEC(".maps");

/* When the bucket of a source of unmatched packets is full again, in ns; the least used make room. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SOURCES);
	__type(key, __be32[ADDRESS_WORDS]);
	__type(value, __u64);
} sources SEC(".maps");

/* AF_XDP sockets of the engine's workers; one that is closed, as when its worker died, leaves by itself. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, WIRES);
	__type(key, __u32);
	__type(value, __u32);
} wires SEC(".maps");

/* Which place of `wires` a receive queue has: a socket takes nothing but what came in by its own queue. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WIRES);
	__type(key, struct wire_key);
	__type(value, __u32);
} queues SEC(".maps");

/* Where a packet is put together or summed up, being too long for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct copy);
} scratch SEC(".maps");

/* A section of its own, so that the loader finds exactly this struct; frozen, hence constants to the
 * verifier. */
const volatile struct relay_config config SEC(".rodata.config");

static __always_inline struct flow *flow_at(__u32 index)
{
	return bpf_map_lookup_elem(&flows, &index);
}

static __always_inline struct flow_ledger *ledger_at(__u32 index)
{
	return bpf_map_lookup_elem(&ledgers, &index);
}

static __always_inline struct copy *scratch_copy(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&scratch, &first);
}

#endif
