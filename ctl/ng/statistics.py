# SPDX-License-Identifier: GPL-3.0-or-later
"""What the relay counts over all calls, and the reply to `statistics` that proxies and monitoring read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

from ctl.ng.carried import Carried, add_by_address, seen
from ctl.ng.merging import merged
from ctl.ng.requests_counted import RequestsCounted
from ctl.sessions.flow_view import FlowView


@dataclass(frozen=True, slots=True)
class Interface:
    """An address of ours. used, free: its ports; what is in neither rests after a call."""

    name: str
    address: str
    port_min: int
    port_max: int
    used: int
    free: int


@dataclass(slots=True)
class Statistics:
    """Totals since the start, at `started` seconds since the epoch."""

    started: float = 0.0
    managed: int = 0
    rejected: int = 0
    timeouts: int = 0
    regular: int = 0
    forced: int = 0
    duration: float = 0.0
    duration_squares: float = 0.0
    one_way: int = 0
    zero_way: int = 0
    relayed: Counter[str] = field(default_factory=Counter)
    """Packets, bytes and errors of flows that have ended, by `kernel` or `engine` and that word."""
    requests: RequestsCounted = field(default_factory=RequestsCounted)
    offer_timeouts: int = 0
    _carried: Carried = field(default_factory=Carried)
    """By flows that have ended; so far as it was heard, of each of our addresses too."""
    _by_address: dict[str, Carried] = field(default_factory=dict)

    def began(self) -> None:
        """Note a new call."""
        self.managed += 1

    def refused(self) -> None:
        """Note a call that was sent elsewhere."""
        self.rejected += 1

    def timed_out(self, seconds: float) -> None:
        """Note a call ended because it was silent."""
        self.timeouts += 1
        self._lasted(seconds)

    def unanswered(self, seconds: float) -> None:
        """Note a call taken away because nobody answered it, or took it away."""
        self.offer_timeouts += 1
        self._lasted(seconds)

    def ended(self, seconds: float) -> None:
        """Note a call ended by its proxy."""
        self.regular += 1
        self._lasted(seconds)

    def terminated(self, seconds: float) -> None:
        """Note a call ended by an operator."""
        self.forced += 1
        self._lasted(seconds)

    def carried(self, views: Iterable[FlowView]) -> None:
        """Add the last figures of flows that have ended."""
        media: dict[tuple[str, int], list[int]] = {}
        views = list(views)
        for view in filter(seen, views):
            self.relayed.update(_counted(view))
        for view in merged(views):
            self._carried.add(view)
            add_by_address(self._by_address, view)
            if view.kind == "rtp":
                packets = view.statistics.packets if view.statistics else 0
                media.setdefault((view.call, view.stream), []).append(packets)
        for counts in media.values():
            self.zero_way += not any(counts)
            self.one_way += any(counts) and not all(counts)

    def reply(
        self,
        calls: int,
        views: Sequence[FlowView],
        interfaces: Sequence[Interface],
        now: float,
        ended: Sequence[FlowView] = (),
    ) -> dict[str, Any]:
        """Return the statistics dictionary. views: the flows that there are; ended: those before them."""
        carried, by_address = deepcopy(self._carried), deepcopy(self._by_address)
        for view in merged((*ended, *views)):
            carried.add(view)
            add_by_address(by_address, view)
        return {
            "currentstatistics": _current(calls, views),
            "totalstatistics": self._totals((*ended, *views), now),
            "mos": carried.voice["mos"].reply("mos"),
            "voip_metrics": {**carried.measured(), **carried.faults()},
            "controlstatistics": self.requests.reply(),
            "interfaces": [_interface(each, by_address.get(each.address, Carried())) for each in interfaces],
            "transcoders": [],
            "poller_threads": [],
            "bufferpools": {},
        }

    def _lasted(self, seconds: float) -> None:
        self.duration += seconds
        self.duration_squares += seconds * seconds

    def _totals(self, views: Sequence[FlowView], now: float) -> dict[str, Any]:
        relayed = self.relayed.copy()
        for view in views:
            relayed.update(_counted(view))
        ended = self.timeouts + self.offer_timeouts + self.regular + self.forced
        mean = self.duration / ended if ended else 0.0
        spread = sqrt(max(self.duration_squares / ended - mean * mean, 0.0)) if ended else 0.0
        return {
            "uptime": str(int(now - self.started)),
            "managedsessions": self.managed,
            "rejectedsessions": self.rejected,
            "timeoutsessions": self.timeouts,
            "silenttimeoutsessions": 0,
            "finaltimeoutsessions": 0,
            "offertimeoutsessions": self.offer_timeouts,
            "regularterminatedsessions": self.regular,
            "forcedterminatedsessions": self.forced,
            **_relayed(relayed),
            "zerowaystreams": self.zero_way,
            "onewaystreams": self.one_way,
            "avgcallduration": f"{mean:.6f}",
            "totalcallsduration": f"{self.duration:.6f}",
            "totalcallsduration2": f"{self.duration_squares:.6f}",
            "totalcallsduration_stddev": f"{spread:.6f}",
        }


def _current(calls: int, views: Sequence[FlowView]) -> dict[str, Any]:
    media = [view for view in views if view.kind == "rtp" and view.leg == "a"]
    paths = Counter(view.path for view in media)
    told: dict[str, Any] = {
        "sessionsown": calls,
        "sessionsforeign": 0,
        "sessionstotal": calls,
        "transcodedmedia": sum(view.transcoded for view in media),
        "mediacache": 0,
        "playercache": 0,
    }
    rates = {path: _rates(views, path) for path in ("engine", "kernel")}
    for what, user in rates["engine"].items():
        kernel = rates["kernel"][what]
        told |= {f"{what}_user": user, f"{what}_kernel": kernel, what: user + kernel}
    media_by = {"media_userspace": paths["engine"], "media_kernel": paths["kernel"], "media_mixed": 0}
    return {**told, **media_by}


def _rates(views: Sequence[FlowView], path: str) -> dict[str, int]:
    """A second, of the last interval: bytes and errors in the proportion that they have had to packets until now."""
    rates = dict.fromkeys(("packetrate", "byterate", "errorrate"), 0.0)
    for view in views:
        rate, found = view.quality.packets_per_second if view.quality else None, view.statistics
        if view.path == path and rate and found and found.packets:
            rates["packetrate"] += rate
            rates["byterate"] += rate * found.bytes / found.packets
            rates["errorrate"] += rate * (found.rejected + found.dropped) / found.packets
    return {what: round(rate) for what, rate in rates.items()}


def _interface(interface: Interface, carried: Carried) -> dict[str, Any]:
    faults = carried.faults()
    size = interface.port_max - interface.port_min + 1
    return {
        "name": interface.name,
        "address": interface.address,
        "ports": {
            "min": interface.port_min,
            "max": interface.port_max,
            "used": interface.used,
            "used_pct": f"{100 * interface.used / size:.6f}",
            "free": interface.free,
            "totals": size,
        },
        "packets_lost": faults["packets_lost"],
        "duplicates": faults["rtp_duplicates"],
        "voip_metrics": {**carried.voice["mos"].reply("mos"), **carried.measured()},
        "ingress": carried.packets("in"),
        "egress": carried.packets("out"),
    }


def _relayed(relayed: Counter[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for word, name in (("packets", "relayedpackets"), ("errors", "relayedpacketerrors"), ("bytes", "relayedbytes")):
        user, kernel = relayed[f"engine {word}"], relayed[f"kernel {word}"]
        found |= {f"{name}_user": user, f"{name}_kernel": kernel, name: user + kernel}
    return found


def _counted(view: FlowView) -> dict[str, int]:
    found = view.statistics
    if found is None or not seen(view):
        return {}
    errors = found.rejected + found.dropped
    return {
        f"{view.path} packets": found.packets,
        f"{view.path} bytes": found.bytes,
        f"{view.path} errors": errors,
    }
