/* SPDX-License-Identifier: GPL-3.0-or-later */
/* All that is counted of many flows, side by side, so that Python takes it apart in one go. */
#ifndef VOXDP_FLOWCOUNTS_SHIM_H
#define VOXDP_FLOWCOUNTS_SHIM_H

#include <stdbool.h>
#include <stdint.h>
#include "flow.h"
#include "flowtable_shim.h"

/* Of one flow; without padding between the fields, which ctl/kernel/flowcounts.py reads as they stand. */
struct flow_counts {
	uint64_t packets, bytes, last_seen, rejected, dropped;
	uint32_t jitter, largest_gap, lost, reordered, duplicates, resets, ssrc_changes, ssrc, clock;
	uint32_t policed, copies_dropped;
	uint8_t payload_type, tos, last_reason, state;
	uint8_t is_rtcp, has_learned;
	uint16_t sequence;
	uint32_t timestamp;
};

/* Of the last packet, out of when it came and its transit; bpf/rtp_stats.h has the same sum the other way
 * round. */
static uint32_t last_timestamp(const struct flow_track *track, uint32_t clock)
{
	return (uint32_t)((track->last_seen >> CLOCK_SHIFT) * clock >> 32) - track->transit;
}

static void flow_count(const struct flow *flow, const struct flow_tally *tally, struct flow_counts *into)
{
	const struct flow_track *track = &flow->track;
	const struct flow_rule *rule = &flow->rule;

	*into = (struct flow_counts){
		.packets = track->packets,
		.bytes = track->bytes,
		.last_seen = track->last_seen,
		.rejected = tally->rejected,
		.dropped = tally->dropped,
		.jitter = track->jitter,
		.largest_gap = track->largest_gap,
		.lost = tally->lost,
		.reordered = tally->reordered,
		.duplicates = tally->duplicates,
		.resets = tally->resets,
		.ssrc_changes = tally->ssrc_changes,
		.ssrc = track->ssrc,
		.clock = rule->clock,
		.policed = tally->policed,
		.copies_dropped = tally->copies_dropped,
		.payload_type = track->payload_type,
		.tos = track->tos,
		.last_reason = tally->last_reason,
		.state = rule->state,
		.is_rtcp = (rule->flags & FLAG_RTCP) != 0,
		.sequence = track->sequence,
		.timestamp = last_timestamp(track, rule->clock),
		.has_learned = track->binding && track->binding >> TAG_SHIFT == (rule->generation & 0xffff),
	};
}

/* Returns false, having read nothing beyond the table, if an index is not in it. */
static bool flows_counts(const struct flow_table *table, const uint32_t *indexes, uint32_t count,
			 struct flow_counts *into)
{
	for (uint32_t i = 0; i < count; i++) {
		if (indexes[i] >= table->entries)
			return false;
		if (i + PREFETCH < count) {
			__builtin_prefetch(&table->flows[indexes[i + PREFETCH]].track);
			__builtin_prefetch(&table->ledgers[indexes[i + PREFETCH]].tally);
		}
		flow_count(&table->flows[indexes[i]], &table->ledgers[indexes[i]].tally, &into[i]);
	}
	return true;
}

#endif
