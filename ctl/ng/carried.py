# SPDX-License-Identifier: GPL-3.0-or-later
"""What flows have carried together and how that sounded: `mos`, `voip_metrics` and each of the `interfaces`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

from ctl.sessions.flow_view import FlowView

MEASURED = ("jitter", "rtt_e2e", "rtt_dsct", "packetloss", "jitter_measured")
"""As the field names them: jitter as the far end reports it in ms, round trips from end to end and to each end in us,
loss in percent, and the jitter that we measure.
"""
FAULTS = {
    "packets_lost": "lost",
    "rtp_duplicates": "duplicates",
    "rtp_skips": "lost",
    "rtp_seq_resets": "resets",
    "rtp_reordered": "reordered",
}


@dataclass(slots=True)
class Spread:
    """Of values that are no more at hand: their sum, that of their squares, and how many there were."""

    total: float = 0.0
    squares: float = 0.0
    samples: int = 0

    def add(self, value: float) -> None:
        """Take one in."""
        self.total += value
        self.squares += value * value
        self.samples += 1

    def reply(self, name: str) -> dict[str, Any]:
        """Return them under the field's names."""
        mean = self.total / self.samples if self.samples else 0.0
        spread = sqrt(max(self.squares / self.samples - mean * mean, 0.0)) if self.samples else 0.0
        return {
            f"{name}_total": f"{self.total:.6f}",
            f"{name}2_total": f"{self.squares:.6f}",
            f"{name}_samples_total": self.samples,
            f"{name}_average": f"{mean:.6f}",
            f"{name}_stddev": f"{spread:.6f}",
        }


@dataclass(slots=True)
class Carried:
    """By any number of flows; one sample of each measure and direction."""

    voice: dict[str, Spread] = field(default_factory=lambda: {name: Spread() for name in ("mos", *MEASURED)})
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, view: FlowView) -> None:
        """Take in a flow's last figures; of one that nothing came to there are none."""
        if not seen(view):
            return
        for name, value in _measured(view).items():
            if value is not None:
                self.voice[name].add(value)
        if view.statistics:
            self.counts.update({name: getattr(view.statistics, field) for name, field in FAULTS.items()})

    def measured(self) -> dict[str, Any]:
        """Return all measures but the MOS."""
        told: dict[str, Any] = {}
        for name in MEASURED:
            told |= self.voice[name].reply(name)
        return told

    def faults(self) -> dict[str, int]:
        """Return what was wrong with packets."""
        return {name: self.counts[name] for name in FAULTS}

    def packets(self, way: str) -> dict[str, int]:
        """Return what came `in` or went `out`."""
        return {what: self.counts[f"{what} {way}"] for what in ("packets", "bytes", "errors")}


def add_by_address(carried: dict[str, Carried], view: FlowView) -> None:
    """Count a flow at the address of ours that it comes to, and at that from which it goes on."""
    found = view.statistics
    if found is None or not seen(view):
        return
    here = _at(carried, view.local[0])
    here.add(view)
    errors = found.rejected + found.dropped
    here.counts.update({"packets in": found.packets, "bytes in": found.bytes, "errors in": errors})
    there = _at(carried, view.egress[0])
    there.counts.update({"packets out": found.packets, "bytes out": found.bytes})


def seen(view: FlowView) -> bool:
    """Whether anything came to a flow that had a carrier: most of those that a busy proxy sets up end at once."""
    found = view.statistics
    return found is not None and view.path != "none" and bool(found.packets or found.rejected or found.dropped)


def _at(carried: dict[str, Carried], address: str) -> Carried:
    found = carried.get(address)
    if found is None:
        found = carried[address] = Carried()
    return found


def _measured(view: FlowView) -> Mapping[str, float | None]:
    quality = view.quality
    if quality is None:
        return {}
    intervals = quality.intervals
    return {
        "mos": quality.mos_avg,
        "jitter": quality.far_jitter_ms,
        "rtt_e2e": _microseconds(view.round_trip_avg),
        "rtt_dsct": _microseconds(quality.round_trip_avg),
        "packetloss": 100 * quality.loss_sum / intervals if intervals else None,
        "jitter_measured": quality.jitter_sum / intervals if intervals else None,
    }


def _microseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e6
