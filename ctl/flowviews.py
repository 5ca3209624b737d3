# SPDX-License-Identifier: GPL-3.0-or-later
"""Flows as the command line and the API show them: plain values under stable names."""

from __future__ import annotations

import time
from typing import Any

from ctl.flowrule import Endpoint
from ctl.programmer import FlowView


def flow_row(view: FlowView) -> dict[str, Any]:
    """Return one flow for JSON. Times have their unit in the name; what is not known is null."""
    counted = view.statistics
    row: dict[str, Any] = {
        "id": view.id,
        "call": view.call,
        "leg": view.leg,
        "stream": view.stream,
        "kind": view.kind,
        "codec": view.codec or None,
        "path": view.path,
        "reason": view.reason,
        "state": view.state,
        "local": _endpoint(view.local),
        "source": _endpoint(view.source),
        "egress": _endpoint(view.egress),
        "target": _endpoint(view.target),
        "learned_port": view.learned_port,
    }
    if counted is None:
        return row | {"packets": 0, "lost": None, "jitter_ms": None, "rejected": None}
    return row | {
        "packets": counted.packets,
        "bytes": counted.bytes,
        "lost": counted.lost,
        "reordered": counted.reordered,
        "duplicates": counted.duplicates,
        "resets": counted.resets,
        "ssrc": counted.ssrc,
        "ssrc_changes": counted.ssrc_changes,
        "payload_type": counted.payload_type,
        "dscp": counted.dscp,
        "jitter_ms": None if counted.jitter_ms is None else round(counted.jitter_ms, 3),
        "largest_gap_ms": round(counted.largest_gap_ms, 3),
        "idle_s": None if counted.last_seen is None else round(time.monotonic() - counted.last_seen, 3),
        "rejected": counted.rejected,
        "rejected_source": _endpoint(counted.rejected_source),
        "dropped": counted.dropped,
        "last_reason": counted.last_reason,
    }


def _endpoint(endpoint: Endpoint | tuple[str, int | None] | None) -> dict[str, Any] | None:
    return None if endpoint is None else {"address": endpoint[0], "port": endpoint[1]}
