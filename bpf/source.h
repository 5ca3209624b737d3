/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who may send to a flow, if anybody. Pinned: one address and port. Learning: one address, and the port that
 * its first valid packet comes from. Latching: whoever first sends enough consistent packets. What is learned
 * is kept beside the generation it was learned in, so that a flow written anew has learned nothing.
 */
#ifndef VOXDP_SOURCE_H
#define VOXDP_SOURCE_H

#define LEARNED_PORT 0xffff

/* May the flow forward anything? */
static __always_inline enum reason check_rule(union control control)
{
	if (!control.generation)
		return REASON_UNKNOWN_PORT;
	if (control.state == FLOW_OFF)
		return REASON_OFF;
	if (control.action == ACTION_DROP)
		return REASON_BLOCKED;
	if (control.action == ACTION_ENGINE)
		return REASON_PASS_ENGINE;
	return GO_ON;
}

static __always_inline __u32 learned(__u32 generation, __be16 port)
{
	return generation << 16 | port;
}

/* The port in `word` if it was learned in this generation, else 0, which is nobody's port. */
static __always_inline __u32 learned_port(__u32 word, __u32 generation)
{
	__u32 port = word ^ generation << 16;

	return port <= LEARNED_PORT ? port : 0;
}

static __always_inline bool is_source(const struct passage *passage, const void *address, __be16 port)
{
	return passage->source_port == port && same_address(passage->source, address);
}

/* After a change of source the former one may go on, until the new one has sent something valid. */
static __always_inline bool is_former(const struct passage *passage, const struct flow_ledger *ledger)
{
	return passage->control.flags & FLAG_PREVIOUS &&
	       ledger->tally.settled != passage->control.generation &&
	       is_source(passage, ledger->wide.previous_address, ledger->wide.previous_port);
}

/* May this source send? `unbound` is set where that still is to be learned from a valid packet. */
static __always_inline enum reason check_source(struct passage *passage, const struct entry *entry,
						bool *unbound)
{
	const void *address = entry->ledger->wide.source_address;
	__be16 port = entry->flow->rule.source_port;

	*unbound = false;
	if (passage->control.state != FLOW_PINNED) {
		port = learned_port(entry->flow->track.binding, passage->control.generation);
		*unbound = !port;
		if (passage->control.state == FLOW_LATCHING) {
			address = entry->ledger->tally.latch_address;
			if (!port)
				return GO_ON;
		}
		if (!port)
			port = passage->source_port;
	}
	if (likely(is_source(passage, address, port)))
		return GO_ON;
	*unbound = false;
	passage->former = is_former(passage, entry->ledger);
	return passage->former ? GO_ON : REASON_WRONG_SOURCE;
}

/* The other direction sends to the port learned here. Both flows of a pair have one generation. */
static __always_inline void tell_partner(__u32 partner, __u32 word, bool moved)
{
	struct flow *flow;

	if (partner == NO_PARTNER)
		return;
	flow = flow_at(partner);
	if (!flow)
		return;
	*(volatile __u8 *)&flow->track.moved = moved;
	*(volatile __u32 *)&flow->track.target = word;
}

/* Binds the flow to the packet's port, once a generation; where another packet was first, its port counts. */
__noinline int learn(struct xdp_md *ctx, const struct passage *passage)
{
	struct report report = {.type = EVENT_LEARNED};
	__u32 generation, word, before;
	const struct flow_ledger *ledger;
	struct flow *flow;
	__be16 bound;

	if (!passage)
		return REASON_OFF;
	flow = flow_at(passage->index);
	ledger = ledger_at(passage->index);
	if (!flow || !ledger)
		return REASON_OFF;
	generation = passage->control.generation;
	word = learned(generation, passage->source_port);
	before = flow->track.binding;
	bound = learned_port(before, generation);
	if (!bound) {
		__u32 found = __sync_val_compare_and_swap(&flow->track.binding, before, word);

		if (found == before) {
			tell_partner(ledger->wide.partner, word, passage->control.state == FLOW_LATCHING);
			emit(ctx, passage, &report);
			return GO_ON;
		}
		bound = learned_port(found, generation);
	}
	return bound == passage->source_port ? GO_ON : REASON_WRONG_SOURCE;
}

/* Is this the candidate's next packet? RTCP has no numbers that say so. */
static __always_inline bool is_consistent(const struct passage *passage, const struct flow_tally *tally)
{
	__u16 ahead = passage->rtp.sequence - tally->latch_sequence;

	return tally->latch_generation == passage->control.generation &&
	       tally->latch_ssrc == passage->rtp.ssrc &&
	       is_source(passage, tally->latch_address, tally->latch_port) &&
	       (passage->kind == KIND_RTCP || ahead - 1U < RTP_WINDOW);
}

static __always_inline void nominate(const struct passage *passage, struct flow_tally *tally)
{
	copy_address(tally->latch_address, passage->source);
	tally->latch_port = passage->source_port;
	tally->latch_ssrc = passage->rtp.ssrc;
	tally->latch_generation = passage->control.generation;
	tally->latch_count = 0;
}

/* One more packet of the candidate, or the first of another. Is the flow bound now? The guard is held. */
static __always_inline int latch_guarded(struct xdp_md *ctx, const struct passage *passage,
					 struct flow_ledger *ledger, const struct flow *flow)
{
	struct flow_tally *tally = &ledger->tally;

	if (learned_port(flow->track.binding, passage->control.generation))
		return is_source(passage, tally->latch_address, tally->latch_port) ? GO_ON
										   : REASON_WRONG_SOURCE;
	if (!is_consistent(passage, tally))
		nominate(passage, tally);
	tally->latch_sequence = passage->rtp.sequence;
	if (++tally->latch_count < ledger->wide.latch_packets)
		return REASON_UNLATCHED;
	return learn(ctx, passage);
}

/* One CPU at a time; a packet that comes meanwhile on another counts for nobody. */
__noinline int latch(struct xdp_md *ctx, const struct passage *passage)
{
	struct flow_ledger *ledger;
	struct flow *flow;
	int reason;

	if (!passage)
		return REASON_OFF;
	ledger = ledger_at(passage->index);
	flow = flow_at(passage->index);
	if (!ledger || !flow || __sync_val_compare_and_swap(&ledger->tally.latch_guard, 0, 1))
		return REASON_UNLATCHED;
	reason = latch_guarded(ctx, passage, ledger, flow);
	__sync_lock_test_and_set(&ledger->tally.latch_guard, 0);
	return reason;
}

#endif
