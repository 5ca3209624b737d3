# SPDX-License-Identifier: GPL-3.0-or-later
"""What the relay counts over all calls, and the reply to `statistics` that proxies and monitoring read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

from ctl.sessions.programmer import FlowView

COUNTED = (
    *("ping", "offer", "answer", "delete", "query", "list"),
    *("block-media", "unblock-media", "statistics"),
)
SHORT = {"block-media": "blkmedia", "unblock-media": "unblkmedia", "statistics": "stats"}
MAX_PROXIES = 256


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
    _commands: dict[str, Counter[str]] = field(default_factory=dict)

    def count(self, proxy: str, command: str, *, error: bool) -> None:
        """Note a request; proxies beyond MAX_PROXIES are counted together."""
        if proxy not in self._commands and len(self._commands) >= MAX_PROXIES:
            proxy = "others"
        counted = self._commands.setdefault(proxy, Counter())
        if command in COUNTED:
            counted[command] += 1
        if error:
            counted["error"] += 1

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
        media: dict[int, list[int]] = {}
        for view in views:
            self.relayed.update(_counted(view))
            if view.kind == "rtp":
                media.setdefault(view.stream, []).append(view.statistics.packets if view.statistics else 0)
        for packets in media.values():
            self.zero_way += not any(packets)
            self.one_way += any(packets) and not all(packets)

    def reply(self, calls: int, views: Sequence[FlowView], now: float) -> dict[str, Any]:
        """Return the statistics dictionary. views: the flows that there are."""
        return {
            "currentstatistics": _current(calls, views),
            "totalstatistics": self._totals(views, now),
            "mos": _mos(views),
            "controlstatistics": self._control(),
        }

    def _lasted(self, seconds: float) -> None:
        self.duration += seconds
        self.duration_squares += seconds * seconds

    def _totals(self, views: Sequence[FlowView], now: float) -> dict[str, Any]:
        relayed = self.relayed.copy()
        for view in views:
            relayed.update(_counted(view))
        ended = self.timeouts + self.regular + self.forced
        mean = self.duration / ended if ended else 0.0
        spread = sqrt(max(self.duration_squares / ended - mean * mean, 0.0)) if ended else 0.0
        return {
            "uptime": str(int(now - self.started)),
            "managedsessions": self.managed,
            "rejectedsessions": self.rejected,
            "timeoutsessions": self.timeouts,
            "silenttimeoutsessions": 0,
            "finaltimeoutsessions": 0,
            "offertimeoutsessions": 0,
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

    def _control(self) -> dict[str, Any]:
        totals: Counter[str] = Counter()
        for counted in self._commands.values():
            totals.update(counted)
        return {
            "proxies": [
                {"proxy": proxy, **_command_counts("", counted), "errorcount": counted["error"]}
                for proxy, counted in self._commands.items()
            ],
            **_command_counts("total", totals),
        }


def _command_counts(prefix: str, counted: Counter[str]) -> dict[str, int]:
    return {f"{prefix}{SHORT.get(command, command)}count": counted[command] for command in COUNTED}


def _current(calls: int, views: Sequence[FlowView]) -> dict[str, Any]:
    paths = Counter(view.path for view in views if view.kind == "rtp" and view.leg == "a")
    rates = {path: _rate(views, path) for path in ("engine", "kernel")}
    return {
        "sessionsown": calls,
        "sessionsforeign": 0,
        "sessionstotal": calls,
        "transcodedmedia": 0,
        "packetrate_user": rates["engine"],
        "packetrate_kernel": rates["kernel"],
        "packetrate": rates["engine"] + rates["kernel"],
        "media_userspace": paths["engine"],
        "media_kernel": paths["kernel"],
        "media_mixed": 0,
    }


def _rate(views: Sequence[FlowView], path: str) -> int:
    found = (view.quality.packets_per_second for view in views if view.path == path and view.quality)
    return round(sum(rate for rate in found if rate))


def _relayed(relayed: Counter[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for word, name in (("packets", "relayedpackets"), ("errors", "relayedpacketerrors"), ("bytes", "relayedbytes")):
        user, kernel = relayed[f"engine {word}"], relayed[f"kernel {word}"]
        found |= {f"{name}_user": user, f"{name}_kernel": kernel, name: user + kernel}
    return found


def _mos(views: Sequence[FlowView]) -> dict[str, Any]:
    found = [view.quality.mos_avg for view in views if view.quality and view.quality.mos_avg is not None]
    total, squares = sum(found), sum(mos * mos for mos in found)
    mean = total / len(found) if found else 0.0
    spread = sqrt(max(squares / len(found) - mean * mean, 0.0)) if found else 0.0
    return {
        "mos_total": f"{total:.6f}",
        "mos2_total": f"{squares:.6f}",
        "mos_samples_total": len(found),
        "mos_average": f"{mean:.6f}",
        "mos_stddev": f"{spread:.6f}",
    }


def _counted(view: FlowView) -> dict[str, int]:
    found = view.statistics
    if found is None or view.path == "none":
        return {}
    errors = found.rejected + found.dropped
    return {
        f"{view.path} packets": found.packets,
        f"{view.path} bytes": found.bytes,
        f"{view.path} errors": errors,
    }
