/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The express way of IPv4 that is recorded: as any, and then a copy of the payload. */
#ifndef VOXDP_RECORDED_H
#define VOXDP_RECORDED_H

static __always_inline void record(struct xdp_md *ctx, const struct express *express)
{
	struct passage passage = {
		.now = express->now,
		.control = express->control,
		.index = express->index,
		.transport = UDP_OFFSET,
		.payload = express->payload,
	};

	mirror_payload(ctx, &passage);
}

static __noinline int express_recorded(struct xdp_md *ctx, __u32 index, __u64 now)
{
	struct express express = enter(ctx, index, now);
	int verdict;

	if (!express.flow || !holds(ctx, express.frame, RTP_SHORTEST) || !is_expected(&express, FLAG_MIRROR))
		return CLOSELY;
	express.tos = ip_of(express.frame)->tos;
	verdict = express_ipv4(ctx, &express);
	if (verdict != XDP_DROP)
		record(ctx, &express);
	return verdict;
}

#endif
