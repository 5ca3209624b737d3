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

from ctl.sessions.dataplane import Carriers
from ctl.sessions.media_sessions import MediaSessions
from ctl.sessions.plan import DataPlane
from ctl.sessions.programmer import Programmer
from media.flows import EngineError

WATCH_SECONDS = 0.5

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
        self._told: tuple[str, dict[str, str]] = ("", {})

    async def run(self) -> None:
        """Notice within a second what somebody does to the relay, and an engine that died."""
        while True:
            self._look()
            await asyncio.sleep(WATCH_SECONDS)

    def follow_events(self) -> None:
        """Take the relay's events as they come, from now on."""
        if self._carriers.events and self._take_events:
            self._watched = self._carriers.events.fileno()
            asyncio.get_running_loop().add_reader(self._watched, self._take_events)

    def leave_events(self) -> None:
        """Take them no more; harmless if none were taken."""
        if self._watched is not None:
            asyncio.get_running_loop().remove_reader(self._watched)
            self._watched = None

    def _look(self) -> None:
        former = self._carriers.kernel
        found = self._carriers.look()
        self._tell_trouble()
        if self._carriers.kernel is not former:
            self.leave_events()
            self._move(replace(found, attached=frozenset()))  # out of the former table, before it goes
            self._programmer.use(self._carriers.kernel, self._carriers.engine)
            self._carriers.forget_former()
            self.follow_events()
        if found != self._sessions.data_plane:
            self._move(found)
        if not self._carriers.process.alive():
            self._restart_engine()

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

    def _restart_engine(self) -> None:
        log.error("engine died; its calls go on with another")
        try:
            self._programmer.use(self._carriers.kernel, self._carriers.restart_engine())
            self._silence(time.monotonic())
            self._programmer.engine_restarted()
            self._replan()
        except EngineError as error:
            log.error("engine not restarted", why=str(error))


def reasons(attached: frozenset[str]) -> dict[str, str]:
    """Where the relay is attached, as the log tells it."""
    return {"xdp": ", ".join(sorted(attached)) or "nowhere: the engine carries media"}
