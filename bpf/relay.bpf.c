/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The relay: RTP and RTCP from one side of a call to the other, decided by one look-up, before the host's
 * network stack sees the packet. docs/verdicts.md tells the order of decisions for people.
 *
 * Two ways lead through it. Nearly every packet is plain RTP from the source that its flow expects; the
 * express way finds just that out, in as few steps as possible. Whatever is anything else goes the close way,
 * where each check has its place and its reason, and which lets the express way have what is like it.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET	    2
#define AF_INET6    10
#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "words of several fields are read as little-endian");

#include "flow.h"
#include "rtp_stats.h"
#include "maps.h"
#include "passage.h"
#include "parse.h"
#include "payload.h"
#include "events.h"
#include "copies.h"
#include "source.h"
#include "police.h"
#include "nexthop.h"
#include "checksum.h"
#include "rewrite.h"
#include "rebuild.h"
#include "verdict.h"
#include "handup.h"
#include "dtmf.h"
#include "deliver.h"
#include "closely.h"
#include "express.h"
#include "express6.h"
#include "crossing.h"
#include "recorded.h"

SEC("xdp")
int relay(struct xdp_md *ctx)
{
	struct express express = {.frame = frame_of(ctx), .length = frame_length(ctx)};
	int verdict = CLOSELY;
	__u64 now;

	if (likely(find_flow(ctx, &express))) {
		touch(express.flow);
		express.now = bpf_ktime_get_ns();
		if (likely(is_expected(&express, 0)))
			return express_ipv4(ctx, &express);
		now = express.now;
		if (express.control.flags & FLAG_TARGET6)
			verdict = cross_to6(ctx, express.index, now);
		else if (express.control.flags & FLAG_MIRROR)
			verdict = express_recorded(ctx, express.index, now);
	} else {
		verdict = express6(ctx, &now);
	}
	return verdict != CLOSELY ? verdict : closely(ctx, now);
}

const char relay_license[] SEC("license") = "GPL";
