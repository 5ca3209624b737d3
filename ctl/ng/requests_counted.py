# SPDX-License-Identifier: GPL-3.0-or-later
"""How often each proxy has asked for what, and how long that took: `controlstatistics`, by the field's short names."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

COUNTED = {
    **{command: command for command in ("ping", "offer", "answer", "delete", "query", "list")},
    "start-recording": "startrec",
    "stop-recording": "stoprec",
    "pause-recording": "pauserec",
    "start-forwarding": "startfwd",
    "stop-forwarding": "stopfwd",
    "block-dtmf": "blkdtmf",
    "unblock-dtmf": "unblkdtmf",
    "block-media": "blkmedia",
    "unblock-media": "unblkmedia",
    "play-media": "playmedia",
    "stop-media": "stopmedia",
    "play-dtmf": "playdtmf",
    "statistics": "stats",
    "silence-media": "slnmedia",
    "unsilence-media": "unslnmedia",
    "publish": "pub",
    "subscribe-request": "subreq",
    "subscribe-answer": "subans",
    "unsubscribe": "unsub",
    "connect": "connect",
    "transform": "transform",
}
MAX_PROXIES = 256


@dataclass(slots=True)
class _Proxy:
    counts: Counter[str] = field(default_factory=Counter)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    errors: int = 0


@dataclass(slots=True)
class RequestsCounted:
    """Of all proxies; those beyond MAX_PROXIES count together."""

    _proxies: dict[str, _Proxy] = field(default_factory=dict)

    def count(self, proxy: str, command: str, seconds: float, *, error: bool) -> None:
        """Note a request that took so long."""
        if proxy not in self._proxies and len(self._proxies) >= MAX_PROXIES:
            proxy = "others"
        found = self._proxies.setdefault(proxy, _Proxy())
        if command in COUNTED:
            found.counts[command] += 1
            found.seconds[command] += seconds
        found.errors += error

    def reply(self) -> dict[str, Any]:
        """Return the dictionary."""
        totals: Counter[str] = Counter()
        for each in self._proxies.values():
            totals.update(each.counts)
        return {
            "proxies": [_of(proxy, each) for proxy, each in self._proxies.items()],
            **{f"total{name}count": totals[command] for command, name in COUNTED.items()},
        }


def _of(name: str, proxy: _Proxy) -> dict[str, Any]:
    told: dict[str, Any] = {"proxy": name}
    for command, short in COUNTED.items():
        told[f"{short}count"] = proxy.counts[command]
        told[f"{short}duration"] = f"{proxy.seconds[command]:.6f}"
    return {**told, "errorcount": proxy.errors}
