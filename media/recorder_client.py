# SPDX-License-Identifier: GPL-3.0-or-later
"""The recorder as its controller sees it: calls over the control socket, and a process to start or adopt."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from media.control_client import ControlClient
from media.flows import EngineError
from media.recording_settings import RecordingSettings, settings_to_json
from media.spawn import spawn

START_TIMEOUT = 5.0


class RecorderClient(ControlClient):
    """Asks a recorder."""

    name = "recorder"
    remedy = "see recorder.log beside it"

    @property
    def taps(self) -> str:
        """Path of the socket that taps send to."""
        return f"{self.path}.tap"

    def ensure(self, module: str, arguments: Sequence[str], log: Path | None = None) -> None:
        """Start a recorder unless one answers. Raises EngineError."""
        try:
            self._ask("ping")
            return
        except EngineError as error:
            if error.code != "gone":
                raise
        try:
            spawn(self.path, sys.executable, arguments, log, START_TIMEOUT, module)
        except EngineError as error:
            if error.code != "running":
                raise
            time.sleep(0.1)  # another controller started it a moment before us
        self._ask("ping")

    def start(self, settings: RecordingSettings) -> None:
        """Begin a recording."""
        self._ask("start", settings=settings_to_json(settings))

    def change(self, settings: RecordingSettings) -> None:
        """Name other codecs of its legs."""
        self._ask("change", settings=settings_to_json(settings))

    def pause(self, recording: UUID) -> None:
        """Leave out what is said from now on."""
        self._ask("pause", id=str(recording))

    def resume(self, recording: UUID) -> None:
        """Take it in again."""
        self._ask("resume", id=str(recording))

    def source(self, recording: UUID, flow: int, leg: int) -> None:
        """Take the kernel relay's copies of a flow, by its index, for a leg."""
        self._ask("source", id=str(recording), flow=flow, leg=leg)

    def forget(self, flow: int) -> None:
        """Take no more copies of a flow."""
        self._ask("forget", flow=flow)

    def stop(self, recording: UUID) -> dict[str, Any]:
        """End it; what became of it."""
        state: dict[str, Any] = self._ask("stop", id=str(recording))["state"]
        return state

    def states(self) -> list[dict[str, Any]]:
        """What is known of all that are under way."""
        states: list[dict[str, Any]] = self._ask("list")["states"]
        return states
