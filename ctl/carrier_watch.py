# SPDX-License-Identifier: GPL-3.0-or-later
"""What carries media, as long as we serve: a relay that others may detach or replace, and an engine that may die.

Calls go on by what there is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import structlog

from ctl.sessions.dataplane import DataPlane
from ctl.sessions.host_carriers import Carriers
from ctl.sessions.media_sessions import MediaSessions
from ctl.sessions.programmer import Programmer
from media.flows import EngineError

RESTART_SECONDS = 1.0
"""Between two starts of an engine, unless `look` finds that there is none."""

log = structlog.get_logger()


class CarrierWatch:
    """Looks at the carriers and moves calls between them.

    take_events: reads the relay's ring buffer; None: somebody else does. silence: called with the time when the
    engine's counters begin anew. alarms: whether anybody expects a relay.
    """

    def __init__(
        self,
        carriers: Carriers,
        programmer: Programmer,
        sessions: MediaSessions,
        take_events: Callable[[], None] | None,
        silence: Callable[[float], None],
        alarms: bool,
    ) -> None:
        self._carriers = carriers
        self._programmer = programmer
        self._sessions = sessions
        self._take_events = take_events
        self._silence = silence
        self._alarms = alarms
        self._watched: int | None = None
        self._engine: int | None = None
        self._restarted = -RESTART_SECONDS
        self._told: tuple[str, dict[str, str]] = ("", {})

    def follow(self) -> None:
        """From now on take the relay's events as they come, and notice at once when the engine dies."""
        self._follow_events()
        self._follow_engine()

    def leave(self) -> None:
        """Take them no more; harmless if nothing was followed."""
        self._leave_events()
        self._leave_engine()

    def look(self) -> None:
        """See what somebody has done to the relay, and to the engine; to be called every second."""
        former = self._carriers.kernel
        found = self._carriers.look(self._programmer.uses("engine"))
        self._tell_trouble()
        if self._carriers.kernel is not former:
            self._leave_events()
            self._move(replace(found, attached=frozenset()))  # out of the former table, before it goes
            self._programmer.use(self._carriers.kernel, self._carriers.engine)
            self._carriers.forget_former()
            self._follow_events()
        if found != self._sessions.data_plane:
            self._move(found)
        self._look_at_engine()

    def _follow_events(self) -> None:
        if self._carriers.events and self._take_events:
            self._watched = self._carriers.events.fileno()
            asyncio.get_running_loop().add_reader(self._watched, self._take_events)

    def _leave_events(self) -> None:
        if self._watched is not None:
            asyncio.get_running_loop().remove_reader(self._watched)
            self._watched = None

    def _follow_engine(self) -> None:
        self._engine = self._carriers.process.fileno()
        asyncio.get_running_loop().add_reader(self._engine, self._engine_ended)

    def _leave_engine(self) -> None:
        if self._engine is not None:
            asyncio.get_running_loop().remove_reader(self._engine)
            self._engine = None

    def _tell_trouble(self) -> None:
        """An alarm for each change: what an operator must look at, and that it is over."""
        trouble, bare = self._carriers.trouble, self._carriers.bare
        if (trouble, bare) == self._told or not self._alarms:
            return
        self._told = trouble, dict(bare)
        if trouble:
            log.error("kernel relay not usable", why=trouble)
        for interface, why in bare.items():
            log.error("kernel relay does not carry this interface", interface=interface, why=why)
        if not trouble and not bare:
            log.info("kernel relay carries every interface")

    def _move(self, found: DataPlane) -> None:
        """Let every call go on by what carries it now."""
        log.warning("data plane changed", **reasons(found.attached))
        self._sessions.data_plane = found
        self._replan()

    def _replan(self) -> None:
        for call, why in self._sessions.replan().items():
            log.error("call not moved", call=call, why=why)

    def _engine_ended(self) -> None:
        """Where one dies as soon as it is there, `look` starts the next."""
        self._leave_engine()
        if time.monotonic() - self._restarted > RESTART_SECONDS:
            self._look_at_engine()

    def _look_at_engine(self) -> None:
        if not self._carriers.process.alive():
            self._leave_engine()
            self._restart_engine()

    def _restart_engine(self) -> None:
        log.error("engine died; its calls go on with another")
        self._restarted = time.monotonic()
        try:
            self._programmer.use(self._carriers.kernel, self._carriers.restart_engine())
            self._follow_engine()
            self._silence(time.monotonic())
            self._programmer.engine_restarted()
            self._replan()
        except EngineError as error:
            log.error("engine not restarted", why=str(error))


def reasons(attached: frozenset[str]) -> dict[str, str]:
    """Where the relay is attached, as the log tells it."""
    return {"xdp": ", ".join(sorted(attached)) or "nowhere: the engine carries media"}
