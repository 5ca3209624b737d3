# SPDX-License-Identifier: GPL-3.0-or-later
"""Recording a call as proxies ask for it: every dialogue of it, each into a recording of its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import structlog

from ctl.ng.calls import Call, Calls, Dialogue, keep_tenant
from ctl.ng.errors import NgError
from ctl.ng.request import Request
from ctl.sessions.call_media import LEGS
from ctl.verbs.control import ControlError
from sip.effects import Leg

Consent = Literal["", "given", "announced"]
Reply = dict[str, Any]

log = structlog.get_logger()


class Recorder(Protocol):
    """What is asked of `ctl.recording.recordings.Recordings`. All raise ControlError where it cannot be."""

    def start(self, call: str, consent: Consent = "") -> object:
        """Begin to record a session."""

    def stop(self, call: str) -> object:
        """End its recording."""

    def pause(self, call: str) -> None:
        """Leave out what comes until it is resumed."""

    def resume(self, call: str) -> None:
        """Go on."""


class Forwarder(Protocol):
    """What is asked of `ctl.recording.forwardings.Forwardings`. All raise ControlError where it cannot be."""

    def start(self, call: str, metadata: str = "", legs: Collection[Leg] = LEGS) -> None:
        """Send what these legs of a session say to the consumer."""

    def stop(self, call: str, legs: Collection[Leg] = LEGS) -> None:
        """Send no more of it."""

    def forwarded(self, call: str) -> frozenset[Leg]:
        """Return whose sound is sent."""


@dataclass
class RecordingCommands:
    """Of all calls. recorder: None where nothing can be recorded. changed: called with each call that is another."""

    calls: Calls
    recorder: Recorder | None
    changed: Callable[[str, Call], None]

    def start(self, request: Request, _now: float) -> Reply:
        """Begin, or go on with what is paused. Raises NgError."""
        return self._do(request, lambda call: start(call, self.recorder, request))

    def stop(self, request: Request, now: float) -> Reply:
        """End all recordings of a call, or pause them. Raises NgError."""
        if request.has("pause"):
            return self.pause(request, now)
        return self._do(request, lambda call: stop(call, self.recorder))

    def pause(self, request: Request, _now: float) -> Reply:
        """Leave out what comes until it is started again. Raises NgError."""
        return self._do(request, lambda call: pause(call, self.recorder))

    def begin(self, call: Call, request: Request) -> Reply:
        """What an offer asked to be recorded is, as soon as there is media; the proxy is told if it cannot be."""
        if not call.record:
            return {}
        try:
            return self.start(request, 0.0)
        except NgError as error:
            log.warning("call not recorded", call=call.call_id, why=str(error))
            return {"warning": f"the call is not recorded: {error}"}

    def _do(self, request: Request, action: Callable[[Call], None]) -> Reply:
        call = self.calls.get(request.call_id())
        try:
            action(call)
        finally:
            self.changed(call.call_id, call)
        return {}


def forward(
    chosen: Iterable[tuple[Dialogue, frozenset[Leg]]], forwarder: Forwarder | None, metadata: str, *, on: bool
) -> None:
    """Begin to send the sound of those who are meant, or end it. Raises NgError."""
    if forwarder is None:
        raise NgError("forwarding is not available on this relay")
    for dialogue, legs in chosen:
        if on:
            _check(dialogue)
            _ask(partial(forwarder.start, dialogue.session, metadata, legs))
        else:
            _ask(partial(forwarder.stop, dialogue.session, legs))


def start(call: Call, recorder: Recorder | None, request: Request) -> None:
    """Begin with what is not recorded, go on with what is paused. Raises NgError."""
    keep_tenant(call, request)
    found, consent = _there(recorder), request.text("consent")
    agreed: Consent = "given" if consent == "given" else "announced" if consent == "announced" else ""
    for dialogue in call.dialogues:
        _check(dialogue)
        if dialogue.paused:
            _ask(partial(found.resume, dialogue.session))
        elif not dialogue.recorded:
            _ask(partial(found.start, dialogue.session, agreed))
        dialogue.recorded, dialogue.paused = True, False


def stop(call: Call, recorder: Recorder | None) -> None:
    """End all recordings of a call. Raises NgError."""
    found = _there(recorder)
    for dialogue in (each for each in call.dialogues if each.recorded):
        dialogue.recorded = dialogue.paused = False
        _ask(partial(found.stop, dialogue.session))


def pause(call: Call, recorder: Recorder | None) -> None:
    """Leave out what comes until it is started again. Raises NgError."""
    found = _there(recorder)
    for dialogue in (each for each in call.dialogues if each.recorded and not each.paused):
        _ask(partial(found.pause, dialogue.session))
        dialogue.paused = True


def _check(dialogue: Dialogue) -> None:
    if dialogue.echoed:
        raise NgError("what goes back to who says it is not recorded; see: media-echo")


def _there(recorder: Recorder | None) -> Recorder:
    if recorder is None:
        raise NgError("recording is not available on this relay")
    return recorder


def _ask(question: Callable[[], object]) -> None:
    try:
        question()
    except ControlError as error:
        raise NgError(str(error)) from None
