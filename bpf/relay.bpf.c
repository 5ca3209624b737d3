/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The relay: RTP and RTCP from one side of a call to the other, decided by one look-up, before the host's
 * network stack sees the packet. docs/verdicts.md tells the order of decisions for people.
 *
 * Two ways lead through it. Nearly every packet is plain RTP from the source that its flow expects; the
 * express way finds just that out, in as few steps as possible. Whatever is anything else goes the close way,
 * where each check has its place and its reason. Both end in the same delivery.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET	    2
#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "words of several fields are read as little-endian");

#include "flow.h"
#include "rtp_stats.h"
#include "maps.h"
#include "parse.h"
#include "payload.h"
#include "events.h"
#include "source.h"
#include "nexthop.h"
#include "rewrite.h"
#include "verdict.h"
#include "passage.h"
#include "deliver.h"
#include "closely.h"
#include "express.h"

SEC("xdp")
int relay(struct xdp_md *ctx)
{
	struct passage passage = {.frame = frame_of(ctx), .length = frame_length(ctx)};

	if (unlikely(!find_flow(ctx, &passage)))
		return closely(ctx, bpf_ktime_get_ns());
	touch(passage.flow);
	passage.now = bpf_ktime_get_ns();
	if (likely(is_expected(&passage)))
		return deliver(ctx, &passage, hop_of(&passage.flow->rule), KIND_RTP, EXPRESS_FLAGS);
	return closely(ctx, passage.now);
}

const char relay_license[] SEC("license") = "GPL";
