# SPDX-License-Identifier: GPL-3.0-or-later
"""Has the calls ended that `ctl.sessions.inactivity` finds silent, by what carriers and signalling tell of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import structlog

from ctl.sessions.inactivity import Inactivity, Life
from ctl.sessions.media_sessions import MediaSessions
from ctl.sessions.programmer import Programmer
from ctl.signalling.conductor import Conductor
from media.flows import EngineError
from sip.core import Core

log = structlog.get_logger()


class Owner(Protocol):
    """Whoever made calls besides signalling."""

    def owns(self, call: str) -> bool:
        """Whether it made that call."""

    def answered(self, call: str) -> float | None:
        """Return when it was answered, in seconds of the clock that `look` is given; None if it is not."""

    def end_silent(self, call: str, seconds: float) -> None:
        """End it."""


class SilentCalls:
    """One per controller. `now` is seconds of CLOCK_MONOTONIC, by which packets are stamped too."""

    def __init__(
        self,
        core: Core,
        sessions: MediaSessions,
        programmer: Programmer,
        conductor: Conductor,
        inactivity: Inactivity,
        owners: Sequence[Owner] = (),
    ) -> None:
        self._core = core
        self._sessions = sessions
        self._programmer = programmer
        self._conductor = conductor
        self._inactivity = inactivity
        self._owners = owners

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
        return {call: Life(self._answered(call), seen[call]) for call in seen}

    def _answered(self, call: str) -> float | None:
        owner = self._owner(call)
        if owner is not None:
            return owner.answered(call)
        view = self._core.call(call)
        return view.answered if view else None

    def _owner(self, call: str) -> Owner | None:
        return next((owner for owner in self._owners if owner.owns(call)), None)

    def _end(self, call: str, seconds: float) -> None:
        try:
            (self._owner(call) or self._conductor).end_silent(call, seconds)
        except Exception:
            # Our own fault: the other calls, and whoever looks at the host, are not to suffer from it.
            log.exception("silent call not ended", call=call)
