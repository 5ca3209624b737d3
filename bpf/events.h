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
	__u8 type;
	__u8 reason;
};

struct source {
	__be32 address;
	__be16 port;
};

/* Where a packet came from that is not rewritten yet and whose headers are at their places. */
static __always_inline struct source source_of(struct xdp_md *ctx)
{
	struct source source = {};

	bpf_xdp_load_bytes(ctx, SOURCE_OFFSET, &source.address, sizeof(source.address));
	bpf_xdp_load_bytes(ctx, UDP_OFFSET, &source.port, sizeof(source.port));
	return source;
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

/* A function of its own, as this is what brings struct event into the object's type information. */
static __noinline void describe(struct event *event, const struct report *report, const struct source *source)
{
	__builtin_memset(event, 0, sizeof(*event));
	event->time = report->now;
	event->flow = report->flow;
	event->generation = report->generation;
	event->type = report->type;
	event->reason = report->reason;
	event->ssrc = report->ssrc;
	map_address(event->address, source->address);
	event->port = source->port;
}

/* Reports what the packet in `ctx` brought about, with a copy of its first `copied` bytes of payload. */
static __noinline void emit(struct xdp_md *ctx, const struct report *report, const struct source *source,
			    __u32 copied)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event)
		return;
	describe(event, report, source);
	attach_payload(ctx, event, copied);
	bpf_ringbuf_submit(event, 0);
}

#endif
