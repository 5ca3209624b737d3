/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Token buckets, each kept as the one moment at which it is full again: a packet moves it by its cost, and
 * conforms as long as it is no further ahead than the burst allows (the virtual scheduling algorithm of ITU-T
 * I.371).
 */
#ifndef VOXDP_POLICE_H
#define VOXDP_POLICE_H

/* `interval` ns a packet, `burst` packets at once: looked at only where the bucket is not full. */
static __always_inline bool conforms(__u64 *full_at, __u64 now, __u32 interval, const __u32 *burst)
{
	__u64 moment = *full_at;

	if (likely(moment <= now)) {
		*full_at = now + interval;
		return true;
	}
	if (moment - now > (__u64)interval * (*burst ? *burst - 1 : 0))
		return false;
	*full_at = moment + interval;
	return true;
}

/* The packet's share of what the flow may carry. */
static __always_inline bool within_limit(struct flow *flow, const struct flow_ledger *ledger, __u64 now)
{
	return conforms(&flow->police_time, now, flow->rule.police_interval, &ledger->wide.police_burst);
}

/* What the host gets though it belongs to no flow: not too much of one source. */
__noinline int police_unmatched(const struct passage *passage, int reason)
{
	__u32 burst = config.unmatched_burst;
	__be32 key[ADDRESS_WORDS] = {};
	__u64 full_at, *known;

	if (!passage)
		return reason;
	full_at = passage->now + config.unmatched_interval;
	key[0] = passage->source[0];
	key[1] = passage->source[1];

	if (!passage->ipv6)
		copy_address(key, passage->source);
	known = bpf_map_lookup_elem(&sources, key);
	if (!known) {
		bpf_map_update_elem(&sources, key, &full_at, BPF_ANY);
		return reason;
	}
	return conforms(known, passage->now, config.unmatched_interval, &burst) ? reason : REASON_FLOOD;
}

/* Of those that would pass to a relay address, the ones of UDP are limited: TCP looks after itself. */
static __always_inline enum reason unmatched(const struct passage *passage, enum reason reason)
{
	if (!config.unmatched_interval || !passage->ours)
		return reason;
	if (reason != REASON_PASS_NOT_OURS && reason != REASON_PASS_FRAGMENT)
		return reason;
	return police_unmatched(passage, reason);
}

#endif
