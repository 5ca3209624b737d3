# SPDX-License-Identifier: GPL-3.0-or-later
"""Has the calls ended that `ctl.inactivity` finds silent, by what carriers and signalling tell of them."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from ctl.conductor import Conductor
from ctl.inactivity import Inactivity, Life
from ctl.programmer import Programmer
from ctl.sessions import MediaSessions
from media.flows import EngineError
from sip.core import Core

log = structlog.get_logger()


class SilentCalls:
    """One per controller. `now` is seconds of CLOCK_MONOTONIC, by which packets are stamped too."""

    def __init__(
        self,
        core: Core,
        sessions: MediaSessions,
        programmer: Programmer,
        conductor: Conductor,
        inactivity: Inactivity,
    ) -> None:
        self._core = core
        self._sessions = sessions
        self._programmer = programmer
        self._conductor = conductor
        self._inactivity = inactivity

    def look(self, now: float) -> None:
        """End what has been silent for too long; to be called every second or so."""
        due = self._inactivity.due(self._sessions.calls(), self._programmer.held(), now)
        if not due:
            return
        try:
            lives = self._lives(due)
        except EngineError as error:
            log.error("silent calls not looked for", why=str(error))
            return
        for call, seconds in self._inactivity.silent(lives, now).items():
            self._end(call, seconds)

    def begin_anew(self, now: float) -> None:
        """Forget what was seen, for counters are lost."""
        self._inactivity.begin_anew(now)

    def _lives(self, calls: Iterable[str]) -> dict[str, Life]:
        seen = self._programmer.last_seen(calls)
        views = {call: self._core.call(call) for call in seen}
        return {call: Life(view.answered if view else None, seen[call]) for call, view in views.items()}

    def _end(self, call: str, seconds: float) -> None:
        try:
            self._conductor.end_silent(call, seconds)
        except Exception:
            # Our own fault: the other calls, and whoever looks at the host, are not to suffer from it.
            log.exception("silent call not ended", call=call)
