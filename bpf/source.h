/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who may send to a flow: one address, and one port of it, which is given or learned once. What is learned is
 * kept beside the generation it was learned in, so that a flow written anew has learned nothing.
 */
#ifndef VOXDP_SOURCE_H
#define VOXDP_SOURCE_H

#define LEARNED_PORT 0xffff

static __always_inline __u32 learned(__u32 generation, __be16 port)
{
	return generation << 16 | port;
}

/* The port in `word` if it was learned in this generation, else 0, which is nobody's port. */
static __always_inline __be16 learned_port(__u32 word, __u32 generation)
{
	return word >> 16 == (generation & LEARNED_PORT) ? word & LEARNED_PORT : 0;
}

/* May this source send? `unbound` is set where its port still is to be learned from a valid packet. */
static __always_inline enum reason check_source(const struct packet *packet, const struct flow *flow,
						__u32 generation, __u8 state, bool *unbound)
{
	__be16 port = flow->rule.source_port;

	*unbound = false;
	if (packet->source_address != flow->rule.source_address)
		return REASON_WRONG_SOURCE;
	if (state == FLOW_LEARNING) {
		port = learned_port(flow->track.binding, generation);
		*unbound = !port;
		if (!port)
			return GO_ON;
	}
	return packet->source_port == port ? GO_ON : REASON_WRONG_SOURCE;
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

/* Binds the flow to the port in `report`, once a generation; where another packet was first, its port counts.
 */
static __noinline enum reason learn(struct xdp_md *ctx, struct flow *flow, const struct report *report)
{
	__u32 word = learned(report->generation, report->port);
	__u32 before = flow->track.binding;
	__u32 found = before;

	if (!learned_port(before, report->generation))
		found = __sync_val_compare_and_swap(&flow->track.binding, before, word);
	if (found == before && !learned_port(before, report->generation)) {
		tell_partner(flow->rule.partner, word);
		emit(ctx, report, 0);
		return GO_ON;
	}
	return learned_port(found, report->generation) == report->port ? GO_ON : REASON_WRONG_SOURCE;
}

#endif
