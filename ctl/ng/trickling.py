# SPDX-License-Identifier: GPL-3.0-or-later
"""Candidates that participants name after their description (RFC 8840), or before it has come; those wait for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from ctl.ng.calls import Call, Calls, Dialogue, Participant
from ctl.ng.errors import NgError
from ctl.ng.fragments import Fragments
from ctl.sessions.media_sessions import MediaRefused, MediaSessions
from sip.effects import Leg

UNDESCRIBED = 481
"""Status of what the media sessions refuse of a leg that has said nothing yet."""

log = structlog.get_logger()


@dataclass
class Trickling:
    """Of all calls. steady: a clock that never steps. changed: called with each call that has taken in candidates."""

    sessions: MediaSessions
    calls: Calls
    steady: Callable[[], float]
    changed: Callable[[str, Call | None], None]
    fragments: Fragments = field(default_factory=Fragments)

    def take(self, call_id: str, tag: str, fragment: bytes) -> None:
        """Take in what the participant of that tag names. Raises NgError."""
        call = self.calls.find(call_id)
        participant = call.find(tag) if call else None
        dialogues = list(call.dialogues_of(participant)) if call and participant else []
        told = [self._named(dialogue, dialogue.leg_of(participant), fragment) for dialogue in dialogues if participant]
        if call is not None and any(told):
            self.changed(call_id, call)
        elif not self.fragments.keep(call_id, tag, fragment, self.steady()):
            raise NgError("too many candidates of participants that have not described themselves")

    def catch_up(self, call: Call, dialogue: Dialogue, participant: Participant, named: str | None) -> None:
        """Take in what came before the description of who names it."""
        for fragment in self.fragments.take(call.call_id, named, self.steady()):
            try:
                self._named(dialogue, dialogue.leg_of(participant), fragment)
            except NgError as error:
                log.warning("early candidates are of no use", call=call.call_id, why=str(error))

    def _named(self, dialogue: Dialogue, leg: Leg, fragment: bytes) -> bool:
        """Take in candidates; False where the leg has not described itself yet. Raises NgError."""
        try:
            self.sessions.trickle(dialogue.session, leg, fragment)
        except MediaRefused as refused:
            if refused.status == UNDESCRIBED:
                return False
            raise NgError(refused.reason) from None
        return True
