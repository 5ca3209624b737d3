# SPDX-License-Identifier: GPL-3.0-or-later
"""Which calls have gone silent: those of peers that died without a BYE, and for which nobody ought to pay on.

Pure. All times are seconds of one steady clock. A call with a sign of life cannot be silent before the timeout has
passed again, so that of 10,000 calls the few that are due are read and no other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from itertools import islice

from sip.facts import fact

AWAY = 5.0
"""Seconds without a look, at least, after which nothing is known of the time between."""

READ_AT_ONCE = 500
"""Calls in one look, or some 2,000 flows: an engine is asked for as many within a tenth of a second."""


@fact
class Life:
    """What a call has shown. answered: None if it is not; last_seen: its last packet either way, 0 before the first."""

    answered: float | None
    last_seen: float


class Inactivity:
    """Since when each call may be silent. timeout: seconds, hold_timeout: those of a held call; 0: it never is.

    now: the start of the controller.
    """

    def __init__(self, timeout: float, hold_timeout: float, now: float) -> None:
        self._timeout = timeout
        self._hold_timeout = hold_timeout
        self._held: Set[str] = frozenset()
        self._looked = now
        self._since: dict[str, float] = {}

    def begin_anew(self, now: float) -> None:
        """Count every call from now: what was seen of it is lost."""
        self._since = dict.fromkeys(self._since, now)
        self._looked = now

    def due(self, calls: Set[str], held: Set[str], now: float) -> list[str]:
        """Say of which calls to read the life and to give it to `silent`, those first that have waited longest.

        calls: all that have media; held: those in which no stream flows both ways, by their descriptions. A call
        that is held or resumed has its time anew.
        """
        if now - self._looked > max(AWAY, min(filter(None, (self._timeout, self._hold_timeout)), default=AWAY) / 2):
            self.begin_anew(now)  # it was us who did not run, and maybe the whole host
        for call in self._since.keys() - calls:
            del self._since[call]
        for call in calls - self._since.keys():
            self._since[call] = self._looked
        for call in (held ^ self._held) & calls:
            self._since[call] = now
        self._held = held & calls
        self._looked = now
        found = list(islice(self._overdue(now), READ_AT_ONCE))
        for call in found:
            self._since[call] = self._since.pop(call)
        return found

    def silent(self, lives: Mapping[str, Life], now: float) -> dict[str, float]:
        """Return the calls that are to be ended, each with the seconds for which it has been silent.

        A call that was due and is not in `lives` has told nothing: it is due again at the next look.
        """
        for call, life in lives.items():
            since = now if life.answered is None else max(life.answered, life.last_seen)
            self._since[call] = max(self._since.get(call, now), since)
        return {call: now - self._since[call] for call in lives if self._is_overdue(call, now)}

    def _overdue(self, now: float) -> Iterator[str]:
        return (call for call in self._since if self._is_overdue(call, now))

    def _is_overdue(self, call: str, now: float) -> bool:
        limit = self._hold_timeout if call in self._held else self._timeout
        return limit > 0 and now - self._since[call] >= limit
