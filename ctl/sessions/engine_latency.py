# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether processors are kept from deep sleep while the engine carries calls, as `media.cpu_dma_latency` says."""

from __future__ import annotations

from pathlib import Path

import structlog

from ctl.sessions.engine_io import IDLE_LOOKS, LOOKS
from media.client import EngineClient
from media.cpu_latency import UNBOUNDED
from media.flows import EngineError, EngineLatency
from media.wire_opener import OPENER_SOCKET

log = structlog.get_logger()

OLDER = "the engine that runs is older than media.cpu_dma_latency; the next one that starts knows it"


class LatencyBound:
    """Sees to it that one engine bounds how long processors take to wake.

    trouble: why it cannot, in one line. held: whether it did when it was looked at last.
    """

    def __init__(self, microseconds: int, run_directory: Path) -> None:
        self.trouble = ""
        self.held = False
        self._microseconds = microseconds
        self._opener = run_directory / OPENER_SOCKET
        self._engine: int | None = None
        self._looks = 0

    @property
    def description(self) -> str:
        """How it is now and why, for people; empty where nothing is wanted."""
        if self._microseconds == UNBOUNDED:
            return ""
        if self.trouble:
            return f"processors may sleep deeply: {self.trouble}"
        until = "" if self.held else " once there are flows"
        return f"processors wake within {self._microseconds} µs{until}"

    def look(self, client: EngineClient, engine: int, used: bool = True) -> None:
        """To be called each second. engine: its process, which may come from a controller that was told otherwise.

        used: whether it has flows.
        """
        self._looks += 1
        seldom = self._microseconds == UNBOUNDED or self._looks % (LOOKS if used else IDLE_LOOKS)
        if engine == self._engine and seldom:
            return
        try:
            found = client.want_cpu_latency(self._microseconds, self._opener)
        except EngineError as error:
            if error.code == "gone":
                return  # whoever looks after the process tells that
            found = EngineLatency(held=False, trouble=OLDER)
        self._engine = engine
        self.held = found.held
        self._tell("" if self._microseconds == UNBOUNDED else found.trouble)

    def _tell(self, trouble: str) -> None:
        """One line whenever it can no more, or can again."""
        if trouble and trouble != self.trouble:
            log.warning("processors are not kept from deep sleep", why=trouble)
        elif self.trouble and not trouble:
            log.info("processors are kept from deep sleep while the engine has flows")
        self.trouble = trouble
