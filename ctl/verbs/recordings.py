# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller does for the command line about recordings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ctl.exits import USAGE
from ctl.recording.recordings import Recordings
from ctl.verbs.control import ControlError, Verb
from ctl.verbs.flows import find_call
from sip.core import Core


class RecordingVerbs:
    """Answers with plain values that JSON can carry."""

    def __init__(self, core: Core, recordings: Recordings) -> None:
        self._core = core
        self._recordings = recordings

    def table(self) -> Mapping[str, Verb]:
        """Return every verb."""
        return {"call.record": self.call_record}

    def call_record(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Start, stop, pause or resume the recording of a call, or show how it stands."""
        call = find_call(self._core, str(arguments.get("id", ""))).id
        match arguments.get("action"):
            case "start":
                wanted = {name: str(arguments.get(name, "")) for name in ("layout", "format")}
                self._recordings.start(call, arguments.get("consent", ""), **wanted)
            case "stop":
                return self._recordings.stop(call)
            case "pause":
                self._recordings.pause(call)
            case "resume":
                self._recordings.resume(call)
            case "show":
                pass
            case _:
                raise ControlError("action is start, stop, pause, resume or show", USAGE)
        return self._recordings.state(call)
