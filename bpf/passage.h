/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is known of a packet on its way to a flow. */
#ifndef VOXDP_PASSAGE_H
#define VOXDP_PASSAGE_H

struct passage {
	void *frame;
	struct flow *flow;
	__u64 now; /* ns, CLOCK_MONOTONIC */
	union control control;
	__u32 index;   /* of the flow */
	__u32 length;  /* of the frame, bytes */
	__u32 payload; /* of the datagram, bytes */
	__u8 tos;      /* as it came */
};

static __always_inline struct report report_of(const struct passage *passage, __u8 type, __u8 reason)
{
	return (struct report){
		.now = passage->now,
		.flow = passage->index,
		.generation = passage->control.generation,
		.type = type,
		.reason = reason,
	};
}

static __always_inline int refuse_passage(struct xdp_md *ctx, const struct passage *passage,
					  enum reason reason)
{
	struct report report = report_of(passage, EVENT_REJECTED, reason);

	return refuse(ctx, &report);
}

#endif
