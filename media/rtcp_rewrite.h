/* SPDX-License-Identifier: GPL-3.0-or-later */
/* SSRCs changed on their way: those of the sender by one mask, those that it reports on by another. */
#ifndef VOXDP_RTCP_REWRITE_H
#define VOXDP_RTCP_REWRITE_H

#include <stddef.h>
#include <linux/types.h>

/* Of an RTP packet with its whole header. */
void rtp_mask(__u8 *data, __u32 mask);

/*
 * Of an RTCP compound (RFC 3550 §6, RFC 4585 §6): `own` on who sends, describes itself or leaves, `reported`
 * on whom reports and feedback are about. Packets of other types keep what they say but for their sender.
 */
void rtcp_mask(__u8 *data, size_t length, __u32 own, __u32 reported);

#endif
