# SPDX-License-Identifier: GPL-3.0-or-later
"""Timers as data: nothing here reads a clock, the time is an argument, and a timer that is due is an input."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Protocol

from sip.facts import fact

_COMPACT_ABOVE = 1024


@fact
class Intervals:
    """The base values of RFC 3261 §17.1.1.1, table 4, in seconds."""

    t1: float = 0.5
    t2: float = 4.0
    t4: float = 5.0

    @property
    def give_up(self) -> float:
        """64*T1: timers B, F, H, J, L, M, and how long a 2xx is repeated."""
        return 64 * self.t1


class Timed(Protocol):
    """Something that timers ring at."""

    def ring(self, name: str, now: float) -> None:
        """Take the timer `name`, which is due."""


class Alarm:
    """One running timer; `stop` it and it never rings."""

    __slots__ = ("name", "owner")

    def __init__(self, owner: Timed, name: str) -> None:
        self.owner: Timed | None = owner
        self.name = name


class Timers:
    """A heap of alarms. Starting and stopping cost O(log n) and O(1); stopped ones are swept out in time."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Alarm]] = []
        self._order = 0
        self._stopped = 0

    def __len__(self) -> int:
        return len(self._heap) - self._stopped

    def start(self, owner: Timed, name: str, due: float) -> Alarm:
        """Ring `name` at `owner` when the time is `due`; equal times ring in the order of starting."""
        self._order += 1
        alarm = Alarm(owner, name)
        heappush(self._heap, (due, self._order, alarm))
        return alarm

    def stop(self, alarm: Alarm | None) -> None:
        """Forget `alarm`, which may have rung or been stopped before; its owner is let go at once."""
        if alarm is None or alarm.owner is None:
            return
        alarm.owner = None
        self._stopped += 1
        if self._stopped > _COMPACT_ABOVE and self._stopped * 2 > len(self._heap):
            self._sweep()

    def next_due(self) -> float | None:
        """When the next alarm is due, None if there is none."""
        self._drop_stopped()
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[tuple[Timed, str]]:
        """Take out the alarms due by `now` one by one, also those started meanwhile."""
        while True:
            self._drop_stopped()
            if not self._heap or self._heap[0][0] > now:
                return
            _, _, alarm = heappop(self._heap)
            owner, alarm.owner = alarm.owner, None
            if owner is not None:
                yield owner, alarm.name

    def _drop_stopped(self) -> None:
        while self._heap and self._heap[0][2].owner is None:
            heappop(self._heap)
            self._stopped -= 1

    def _sweep(self) -> None:
        self._heap = [entry for entry in self._heap if entry[2].owner is not None]
        heapify(self._heap)
        self._stopped = 0
