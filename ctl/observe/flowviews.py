# SPDX-License-Identifier: GPL-3.0-or-later
"""Flows as the command line and the API show them: plain values under stable names, always all of them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from ctl.kernel.flowrule import Endpoint, FlowStatistics
from ctl.observe.quality import Direction
from ctl.sessions.flow_view import FlowView
from media.stages import StageReport

UNCOUNTED = FlowStatistics(
    packets=0,
    bytes=0,
    lost=0,
    reordered=0,
    duplicates=0,
    resets=0,
    ssrc_changes=0,
    jitter_ms=None,
    largest_gap_ms=0.0,
    last_seen=None,
    ssrc=None,
    payload_type=None,
    dscp=None,
    rejected=0,
    rejected_source=None,
    dropped=0,
    last_reason=None,
    learned_port=None,
)
UNMEASURED = Direction()


def flow_row(view: FlowView, now: float | None = None) -> dict[str, Any]:
    """Return one flow for JSON. Units are in the names; what is not known is null.

    now: seconds of CLOCK_MONOTONIC. loss_pct, mos, packets_per_second: of the last interval of five seconds. far_*:
    what the receiving leg says of the whole way to it. leg_rtt_ms: between us and the leg that sends; rtt_ms: from
    end to end.
    """
    counted, quality = view.statistics or UNCOUNTED, view.quality or UNMEASURED
    last_seen = counted.last_seen
    return {
        "id": view.id,
        "call": view.call,
        "leg": view.leg,
        "stream": view.stream,
        "kind": view.kind,
        "codec": view.codec or None,
        "path": view.path,
        "reason": view.reason,
        "state": view.state,
        "ice": view.ice,
        "local": _endpoint(view.local),
        "source": _endpoint(view.source),
        "egress": _endpoint(view.egress),
        "target": _endpoint(view.target),
        "learned_port": view.learned_port,
        "packets": counted.packets,
        "bytes": counted.bytes,
        "packets_per_second": _rounded(quality.packets_per_second, 1),
        "lost": counted.lost,
        "loss_pct": _percent(quality.loss),
        "reordered": counted.reordered,
        "duplicates": counted.duplicates,
        "resets": counted.resets,
        "ssrc": counted.ssrc,
        "ssrc_changes": counted.ssrc_changes,
        "payload_type": counted.payload_type,
        "dscp": counted.dscp,
        "jitter_ms": _rounded(counted.jitter_ms, 3),
        "jitter_max_ms": _rounded(quality.jitter_max_ms, 3),
        "largest_gap_ms": _rounded(counted.largest_gap_ms, 3),
        "idle_s": None if last_seen is None else max(0.0, round((now or time.monotonic()) - last_seen, 3)),
        "mos": _rounded(quality.mos, 2),
        "mos_min": _rounded(quality.mos_min, 2),
        "mos_avg": _rounded(quality.mos_avg, 2),
        "far_loss_pct": _percent(quality.far_loss),
        "far_jitter_ms": _rounded(quality.far_jitter_ms, 3),
        "leg_rtt_ms": _milliseconds(quality.leg_round_trip),
        "rtt_ms": _milliseconds(view.round_trip),
        "dtmf": quality.digits or None,
        "rejected": counted.rejected,
        "rejected_source": _endpoint(counted.rejected_source),
        "dropped": counted.dropped,
        "policed": counted.policed,
        "security": counted.security,
        "suite": counted.suite,
        "forged": counted.forged,
        "replayed": counted.replayed,
        "received_by": counted.received_by,
        "sent_by": counted.sent_by,
        "copies_dropped": counted.copies_dropped,
        "last_reason": counted.last_reason,
    }


def sound_row(report: StageReport | None) -> dict[str, Any]:
    """Return what became of a flow's sound for JSON; all null where it does not go through a codec.

    concealed_*: made up for packets lost or late. recovered: packets restored from the one after. buffer_ms: what the
    jitter buffer waits. silent_ms: of comfort noise or nothing. codec_s: processor time.
    """
    return {
        "played": report.played if report else None,
        "late": report.late if report else None,
        "concealed_ms": report.concealed if report else None,
        "concealed_pct": _percent(report.concealed_ratio) if report else None,
        "recovered": report.recovered if report else None,
        "silent_ms": report.silent if report else None,
        "buffer_ms": report.delay if report else None,
        "codec_s": _rounded(report.codec_seconds, 6) if report else None,
    }


def quality_of_call(flows: Iterable[FlowView]) -> dict[str, Any]:
    """Return how the worst direction of a call fares, by the same names as of flows."""
    heard = [flow for flow in flows if flow.quality]
    known = [flow.quality for flow in heard if flow.quality]
    jitters = [flow.statistics.jitter_ms for flow in heard if flow.statistics and flow.statistics.jitter_ms is not None]
    round_trips = [flow.round_trip for flow in heard if flow.round_trip is not None]
    return {
        "codec": "+".join(sorted({flow.codec for flow in heard if flow.codec})) or None,
        "loss_pct": _percent(max((each.loss for each in known if each.loss is not None), default=None)),
        "jitter_ms": _rounded(max(jitters, default=None), 3),
        "rtt_ms": _milliseconds(max(round_trips, default=None)),
        "mos": _rounded(min((each.mos for each in known if each.mos is not None), default=None), 2),
        "mos_min": _rounded(min((each.mos_min for each in known if each.mos_min is not None), default=None), 2),
        "mos_avg": _rounded(min((each.mos_avg for each in known if each.mos_avg is not None), default=None), 2),
    }


def _endpoint(endpoint: Endpoint | tuple[str, int | None] | None) -> dict[str, Any] | None:
    return None if endpoint is None else {"address": endpoint[0], "port": endpoint[1]}


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 2)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 3)
