/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who may send to a flow, if anybody: one address, and one port of it, which is given or learned once. What
 * is learned is kept beside the generation it was learned in, so that a flow written anew has learned
 * nothing.
 */
#ifndef VOXDP_SOURCE_H
#define VOXDP_SOURCE_H

#define LEARNED_PORT 0xffff

/* generation, state, action and flags of a rule: one word, so that they are of one time. */
union control {
	__u64 word;
	struct {
		__u32 generation;
		__u8 state;
		__u8 action;
		__u16 flags;
	};
};

/* Read now, once and as one word: what else is read of the rule stays before it or after it. */
static __always_inline union control control_of(const struct flow_rule *rule)
{
	union control control;

	barrier();
	control.word = *(const volatile __u64 *)(const void *)rule;
	barrier();
	return control;
}

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

/* May this source send? `unbound` is set where its port still is to be learned from a valid packet. */
static __always_inline enum reason check_source(const struct iphdr *ip, const struct udphdr *udp,
						const struct flow *flow, union control control, bool *unbound)
{
	__be16 port = flow->rule.source_port;

	*unbound = false;
	if (ip->saddr != flow->rule.source_address)
		return REASON_WRONG_SOURCE;
	if (unlikely(control.state == FLOW_LEARNING)) {
		port = learned_port(flow->track.binding, control.generation);
		*unbound = !port;
		if (!port)
			return GO_ON;
	}
	return udp->source == port ? GO_ON : REASON_WRONG_SOURCE;
}

/* The other direction sends to the port learned here. Both flows of a pair have one generation. */
static __always_inline void tell_partner(__u32 partner, __u32 word)
{
	struct flow *flow;

	if (partner == NO_PARTNER)
		return;
	flow = flow_at(partner);
	if (flow)
		flow->track.target = word;
}

/* Who sends to a flow that let a packet pass: its address, and the port that is pinned or was learned. */
static __always_inline struct source sender_of(const struct flow *flow, union control control)
{
	__be16 port = flow->rule.source_port;

	if (control.state == FLOW_LEARNING)
		port = learned_port(flow->track.binding, control.generation);
	return (struct source){.address = flow->rule.source_address, .port = port};
}

/* Binds the flow to `port`, once a generation; where another packet was first, its port counts. */
static __noinline enum reason learn(struct xdp_md *ctx, struct flow *flow, const struct report *report,
				    __be16 port)
{
	__u32 word = learned(report->generation, port);
	__u32 before = flow->track.binding;
	__be16 bound = learned_port(before, report->generation);
	struct source source = source_of(ctx);

	if (!bound) {
		__u32 found = __sync_val_compare_and_swap(&flow->track.binding, before, word);

		if (found == before) {
			tell_partner(flow->rule.partner, word);
			emit(ctx, report, &source, 0);
			return GO_ON;
		}
		bound = learned_port(found, report->generation);
	}
	return bound == port ? GO_ON : REASON_WRONG_SOURCE;
}

#endif
