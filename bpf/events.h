/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What user space is told, by ring buffer. A full ring loses the event, never the packet: all but RTCP copies
 * can be read from the flow as well. The reader is woken as the ring's default has it, only where it had
 * read everything: events are rare next to packets, and a reader behind is awake already.
 */
#ifndef VOXDP_EVENTS_H
#define VOXDP_EVENTS_H

/* An event before it has a place in the ring. */
struct report {
	__u64 now;
	__u32 flow;
	__u32 generation;
	__u32 ssrc;
	__be32 address;
	__be16 port;
	__u8 type;
	__u8 reason;
};

static __always_inline struct report report_of(const struct packet *packet, __u32 generation, __u8 type)
{
	struct report report = {
		.now = packet->now,
		.flow = packet->index,
		.generation = generation,
		.address = packet->source_address,
		.port = packet->source_port,
		.type = type,
	};

	return report;
}

/* ::ffff:a.b.c.d */
static __always_inline void map_address(__u8 mapped[16], __be32 address)
{
	__builtin_memset(mapped, 0, 10);
	mapped[10] = 0xff;
	mapped[11] = 0xff;
	__builtin_memcpy(mapped + 12, &address, sizeof(address));
}

/* Copies up to EVENT_PAYLOAD bytes of a payload of `length` bytes; 0: none. */
static __always_inline void attach_payload(struct xdp_md *ctx, struct event *event, __u32 length)
{
	if (length > EVENT_PAYLOAD)
		length = EVENT_PAYLOAD;
	if (length && !bpf_xdp_load_bytes(ctx, PAYLOAD_OFFSET, event->payload, length))
		event->length = length;
}

static __noinline void emit(struct xdp_md *ctx, const struct report *report, __u32 payload_length)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event)
		return;
	__builtin_memset(event, 0, sizeof(*event));
	event->time = report->now;
	event->flow = report->flow;
	event->generation = report->generation;
	event->type = report->type;
	event->reason = report->reason;
	event->ssrc = report->ssrc;
	map_address(event->address, report->address);
	event->port = report->port;
	attach_payload(ctx, event, payload_length);
	bpf_ringbuf_submit(event, 0);
}

#endif
