# SPDX-License-Identifier: GPL-3.0-or-later
"""Candidates that overtake the description of who names them: kept until that has come. Pure: no clock."""

from __future__ import annotations

from dataclasses import dataclass, field

SECONDS = 30.0
MOST_PARTICIPANTS = 1024
MOST_EACH = 16


@dataclass
class Fragments:
    """Of all calls, by call-id and tag. Times are seconds of a clock that never steps."""

    _kept: dict[tuple[str, str], list[tuple[float, bytes]]] = field(default_factory=dict)

    def keep(self, call_id: str, tag: str, fragment: bytes, now: float) -> bool:
        """Keep one for a while; whether there is room."""
        for key in [key for key, found in self._kept.items() if found[-1][0] < now - SECONDS]:
            del self._kept[key]
        known = self._kept.get((call_id, tag), [])
        if len(known) >= MOST_EACH or (not known and len(self._kept) >= MOST_PARTICIPANTS):
            return False
        self._kept[call_id, tag] = [*known, (now, fragment)]
        return True

    def take(self, call_id: str, tag: str | None, now: float) -> list[bytes]:
        """Return what was kept of a participant, once, in the order in which it came."""
        found = self._kept.pop((call_id, tag or ""), []) if self._kept else []
        return [fragment for came, fragment in found if came >= now - SECONDS]
