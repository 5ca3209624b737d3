# SPDX-License-Identifier: GPL-3.0-or-later
"""A response that is sent again and again until its receiver says that it came."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from sip.timers import Alarm, Intervals, Timers


class Repeater:
    """Repeats at T1, 2*T1, 4*T1… and gives up after 64*T1.

    A 2xx until its ACK, pauses cut at T2 (RFC 3261 §13.3.1.4); a reliable 1xx until its PRACK (RFC 3262 §3).
    send: does it once more. lost: nobody ever answered.
    """

    __slots__ = ("_alarms", "_cap", "_lost", "_pause", "_send", "_timers")

    def __init__(
        self, timers: Timers, send: Callable[[float], None], lost: Callable[[float], None], cap: float = inf
    ) -> None:
        self._timers = timers
        self._send = send
        self._lost = lost
        self._cap = cap
        self._pause = 0.0
        self._alarms: dict[str, Alarm] = {}

    def start(self, intervals: Intervals, now: float) -> None:
        """Begin to count; the first sending was the caller's."""
        self.stop()
        self._pause = intervals.t1
        self._again(now)
        self._alarms["lost"] = self._timers.start(self, "lost", now + intervals.give_up)

    def stop(self) -> None:
        """The receiver has it, or nobody cares any more."""
        for alarm in self._alarms.values():
            self._timers.stop(alarm)
        self._alarms.clear()

    def ring(self, name: str, now: float) -> None:
        """A timer is due."""
        if name == "lost":
            self.stop()
            self._lost(now)
        else:
            self._send(now)
            self._again(now)

    def _again(self, now: float) -> None:
        self._alarms["again"] = self._timers.start(self, "again", now + self._pause)
        self._pause = min(2 * self._pause, self._cap)
