# SPDX-License-Identifier: GPL-3.0-or-later
"""What the command line does with calls that are up: transfer, hold, resume, record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ctl.exits import USAGE
from ctl.sessions.call_media import LEGS
from ctl.verbs.call_control import CallController
from ctl.verbs.control import ControlError, Verb
from ctl.verbs.flows import find_call
from sip.core import Core
from sip.effects import Leg
from sip.views import CallView


class CallVerbs:
    """Answers with plain values that JSON can carry."""

    def __init__(self, core: Core, control: CallController) -> None:
        self._core = core
        self._control = control

    def table(self) -> Mapping[str, Verb]:
        """Return every verb."""
        return {
            "call.hold": self.call_hold,
            "call.record": self.call_record,
            "call.resume": self.call_resume,
            "call.transfer": self.call_transfer,
        }

    def call_transfer(self, arguments: dict[str, Any]) -> dict[str, str]:
        """Send one party of a call to somebody else; the call that this makes."""
        call, target = self._call(arguments), str(arguments.get("target") or "")
        if not target:
            raise ControlError("target must not be empty", USAGE)
        return {"call": call.id, "transferred_as": self._control.transfer(call, _leg(arguments), target)}

    def call_hold(self, arguments: dict[str, Any]) -> str:
        """Let neither party hear the other one."""
        call = self._call(arguments)
        self._control.hold(call, _leg(arguments))
        return call.id

    def call_resume(self, arguments: dict[str, Any]) -> str:
        """Let them hear each other again."""
        call = self._call(arguments)
        self._control.resume(call)
        return call.id

    def call_record(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Start, stop, pause or resume the recording of a call, or show how it stands."""
        wanted = {name: str(arguments.get(name, "")) for name in ("layout", "format")}
        action, consent = str(arguments.get("action", "")), arguments.get("consent", "")
        return self._control.record(self._call(arguments), action, consent, **wanted)

    def _call(self, arguments: dict[str, Any]) -> CallView:
        return find_call(self._core, str(arguments.get("id", "")))


def _leg(arguments: dict[str, Any]) -> Leg:
    wanted = arguments.get("leg") or "a"
    found = next((leg for leg in LEGS if leg == wanted), None)
    if found is None:
        raise ControlError("leg is a, the caller, or b, who was called", USAGE)
    return found
