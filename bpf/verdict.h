/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The one place where reasons become XDP actions, and every packet is counted by its reason. */
#ifndef VOXDP_VERDICT_H
#define VOXDP_VERDICT_H

#define REPORT_INTERVAL 1000000000ULL /* ns between two EVENT_REJECTED of a flow */

static __always_inline void count(__u32 reason, __u32 bytes)
{
	struct reason_count *counter = bpf_map_lookup_elem(&reasons, &reason);

	if (!counter)
		return;
	counter->packets++;
	counter->bytes += bytes;
}

/* Everything but REASON_FORWARDED: the numbers themselves say which reasons drop and which pass. */
__noinline int verdict(__u32 bytes, __u32 reason)
{
	count(reason, bytes);
	return reason >= REASON_PASS_NOT_IP ? XDP_PASS : XDP_DROP;
}

/* Back out of the interface it came from, or out of another. */
static __always_inline int forward(struct xdp_md *ctx, __u32 ifindex, __u32 bytes)
{
	count(REASON_FORWARDED, bytes);
	return ifindex == ctx->ingress_ifindex ? XDP_TX : bpf_redirect(ifindex, 0);
}

/* Any number of CPUs may see a flood of strangers: these count atomically, and one event a second tells. */
static __always_inline void reject(struct xdp_md *ctx, struct flow_tally *tally,
				   const struct passage *passage)
{
	struct report report = {.type = EVENT_REJECTED, .reason = REASON_WRONG_SOURCE};
	__u64 before = tally->rejected_event;

	__sync_fetch_and_add(&tally->rejected, 1);
	copy_address(tally->rejected_address, passage->source);
	tally->rejected_port = passage->source_port;
	if (before && passage->now - before < REPORT_INTERVAL)
		return;
	if (__sync_val_compare_and_swap(&tally->rejected_event, before, passage->now) == before)
		emit(ctx, passage, &report);
}

static __always_inline void count_dropped(struct flow_tally *tally, __u32 reason)
{
	__sync_fetch_and_add(&tally->dropped, 1);
	if (reason == REASON_POLICED)
		__sync_fetch_and_add(&tally->policed, 1);
	tally->last_reason = reason;
}

/* A packet to a flow that does not get through: counted at the flow as well, if there ever was one. */
__noinline int refuse(struct xdp_md *ctx, const struct passage *passage, __u32 reason)
{
	struct flow_ledger *ledger;

	if (!passage)
		return XDP_DROP;
	ledger = ledger_at(passage->index);

	if (!ledger)
		return verdict(passage->length, reason);
	if (reason == REASON_WRONG_SOURCE) {
		reject(ctx, &ledger->tally, passage);
	} else if (reason < REASON_PASS_NOT_IP && passage->control.generation) {
		count_dropped(&ledger->tally, reason);
	}
	return verdict(passage->length, reason);
}

#endif
