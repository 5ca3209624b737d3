# SPDX-License-Identifier: GPL-3.0-or-later
"""The statistics of many flows out of what ctl/flowcounts_shim.h has gathered: 2,000 flows in some 15 ms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct

from ctl.kernel._libbpf import ffi
from ctl.kernel.flowrule import NANOSECONDS, REASONS, Endpoint, FlowState, FlowStatistics, clock_rate, jitter_ms

COUNTS = Struct("=5Q11I6BHI")
"""A struct flow_counts."""

NAMES = {int(state): state.name.lower() for state in FlowState}

Source = Callable[[int], Endpoint | None]
"""Asked for a flow by its index: who it was that was rejected, or learned."""


def decode(
    gathered: bytes, indexes: Sequence[int], rejected_source: Source, learned_source: Source
) -> list[FlowStatistics]:
    """Return the statistics of each; the sources, which few flows have, are asked for one by one."""
    rates: dict[int, int] = {}
    found = []
    for index, counts in zip(indexes, COUNTS.iter_unpack(gathered), strict=True):
        packets, size, last_seen, rejected, dropped = counts[:5]
        jitter, gap, lost, reordered, duplicates, resets, ssrc_changes, ssrc, clock, policed, copies = counts[5:16]
        payload_type, tos, last_reason, state, is_rtcp, has_learned, sequence, timestamp = counts[16:]
        rate = rates.get(clock)
        if rate is None:
            rate = rates[clock] = clock_rate(clock)
        learned = learned_source(index) if has_learned else None
        rtp_seen = packets and not is_rtcp
        found.append(
            FlowStatistics(
                packets,
                size,
                lost,
                reordered,
                duplicates,
                resets,
                ssrc_changes,
                jitter_ms(jitter, rate) if packets and rate else None,
                gap / 1000,
                last_seen / NANOSECONDS if last_seen else None,
                ssrc if rtp_seen else None,
                payload_type if rtp_seen else None,
                tos >> 2 if packets else None,
                rejected,
                rejected_source(index) if rejected else None,
                dropped,
                REASONS.get(last_reason) if dropped else None,
                learned[1] if learned else None,
                learned,
                policed,
                copies,
                NAMES.get(state, "off"),
                sequence=sequence if rtp_seen else None,
                timestamp=timestamp if rtp_seen and rate else None,
            )
        )
    return found


assert COUNTS.size == ffi.sizeof("struct flow_counts")
