/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What user space is told, by ring buffer. A full ring loses the event, never the packet: all but RTCP copies
 * and telephone events can be read from the flow as well. What comes often, or at a stranger's will, wakes
 * nobody.
 */
#ifndef VOXDP_EVENTS_H
#define VOXDP_EVENTS_H

/* What an event has beside the packet that it is about. */
struct report {
	__u8 type;
	__u8 reason;
	__u8 digit;
	__u8 volume;
	__u32 ssrc;
	__u32 timestamp;
	__u32 duration;
	__u32 copied; /* bytes of payload */
};

/* Copies up to EVENT_PAYLOAD bytes of the payload. */
static __always_inline void attach_payload(struct xdp_md *ctx, struct event *event,
					   const struct passage *passage, __u32 length)
{
	if (length > EVENT_PAYLOAD)
		length = EVENT_PAYLOAD;
	if (length &&
	    !bpf_xdp_load_bytes(ctx, passage->transport + sizeof(struct udphdr), event->payload, length))
		event->length = length;
}

/* A function of its own, as this is what brings struct event into the object's type information. */
static __noinline void describe(struct event *event, const struct passage *passage,
				const struct report *report)
{
	__builtin_memset(event, 0, sizeof(*event));
	event->time = passage->now;
	event->flow = passage->index;
	event->generation = passage->control.generation;
	event->type = report->type;
	event->reason = report->reason;
	event->ssrc = report->ssrc;
	event->digit = report->digit;
	event->volume = report->volume;
	event->timestamp = report->timestamp;
	event->duration = report->duration;
	copy_address(event->address, passage->source);
	event->port = passage->source_port;
}

__noinline int emit(struct xdp_md *ctx, const struct passage *passage, const struct report *report)
{
	struct event *event;
	__u64 wake;

	if (!passage || !report)
		return 0;
	wake = report->type == EVENT_RTCP || report->type == EVENT_REJECTED ? BPF_RB_NO_WAKEUP : 0;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event)
		return 0;
	describe(event, passage, report);
	attach_payload(ctx, event, passage, report->copied);
	bpf_ringbuf_submit(event, wake);
	return 0;
}

#endif
