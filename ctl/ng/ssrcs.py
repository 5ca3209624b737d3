# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of each SSRC in the reply to `query` and `delete`: from here proxies have the quality of their calls.

MOS times ten, jitter in ms, round trips in us, loss in percent, times in seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ctl.observe.quality import Direction, Point
from ctl.sessions.flow_view import FlowView


def ssrcs(flows: Sequence[FlowView], offset: float) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each SSRC that was heard. offset: what makes a time since the epoch of one of CLOCK_MONOTONIC."""
    for view in flows:
        ssrc = ssrc_of(view)
        if ssrc is not None:
            yield str(ssrc), {**counted(view), **dict(_judged(view, offset))}


def ssrc_of(view: FlowView | None) -> int | None:
    """Return what was heard last of a flow of RTP, if anything was."""
    return view.statistics.ssrc if view and view.kind == "rtp" and view.statistics else None


def heard(view: FlowView | None) -> list[dict[str, Any]]:
    """Return the list of SSRCs of one direction of a medium, with their counters."""
    ssrc = ssrc_of(view)
    return [] if view is None or ssrc is None else [{"SSRC": ssrc, **counted(view)}]


def counted(view: FlowView) -> dict[str, Any]:
    """Return the counters of an SSRC; view: one of which something was heard."""
    found = view.statistics
    assert found is not None
    named = {"last RTP timestamp": found.timestamp, "last RTP seq": found.sequence}
    return {
        "bytes": found.bytes,
        "packets": found.packets,
        **{name: value for name, value in named.items() if value is not None},
        "cumulative loss": found.lost,
    }


def _judged(view: FlowView, offset: float) -> Iterator[tuple[str, dict[str, Any]]]:
    """Nothing before it was measured."""
    quality = view.quality
    if quality is None or quality.mos_avg is None:
        return
    yield "average MOS", _average(quality, view.round_trip_avg)
    if quality.worst and quality.best:
        yield "lowest MOS", _point(quality.worst, offset)
        yield "highest MOS", _point(quality.best, offset)
    if quality.course:
        first, *further = quality.course
        interval = round(further[0].at - first.at) if further else 0
        yield "MOS progression", {"interval": interval, "entries": [_point(each, offset) for each in quality.course]}


def _average(quality: Direction, round_trip: float | None) -> dict[str, int]:
    return {
        "MOS": round((quality.mos_avg or 0) * 10),
        "round-trip time": round((round_trip or 0) * 1e6),
        "round-trip time leg": round((quality.round_trip_avg or 0) * 1e6),
        "jitter": round(quality.jitter_sum / quality.intervals),
        "packet loss": round(100 * quality.loss_sum / quality.intervals),
        "samples": quality.intervals,
    }


def _point(point: Point, offset: float) -> dict[str, int]:
    return {
        "MOS": round(point.mos * 10),
        "round-trip time": round(point.round_trip * 1e6),
        "round-trip time leg": round(point.leg_round_trip * 1e6),
        "jitter": round(point.jitter_ms),
        "packet loss": round(100 * point.loss),
        "reported at": round(point.at + offset),
    }
