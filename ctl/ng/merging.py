# SPDX-License-Identifier: GPL-3.0-or-later
"""One figure for each direction of a call, though several flows have carried it: first the kernel, for a prompt the
engine, then the kernel again. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ctl.kernel.flowrule import FlowStatistics
from ctl.sessions.flow_view import FlowView

SUMMED = ("packets", "bytes", "lost", "reordered", "duplicates", "resets", "ssrc_changes", "rejected", "dropped")
LAST = ("jitter_ms", "last_seen", "ssrc", "payload_type", "dscp", "sequence", "timestamp")
"""Of the flow that carries it, or if nothing was seen there yet, of the one before."""


def merged(views: Iterable[FlowView]) -> list[FlowView]:
    """Return a view of each direction of each m-line, as its last flow is, with the counters of all.

    views: in order of time.
    """
    found: dict[tuple[str, int, str, str], FlowView] = {}
    for view in views:
        key = view.call, view.stream, view.leg, view.kind
        before = found.get(key)
        found[key] = replace(view, statistics=_both(before.statistics, view.statistics)) if before else view
    return list(found.values())


def _both(before: FlowStatistics | None, since: FlowStatistics | None) -> FlowStatistics | None:
    if before is None or since is None:
        return before or since
    sums = {name: getattr(before, name) + getattr(since, name) for name in SUMMED}
    last = {} if since.packets else {name: getattr(before, name) for name in LAST}
    return replace(since, **sums, **last, largest_gap_ms=max(before.largest_gap_ms, since.largest_gap_ms))
