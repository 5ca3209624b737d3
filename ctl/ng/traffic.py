# SPDX-License-Identifier: GPL-3.0-or-later
"""Media that a proxy wants to go nowhere (`drop-traffic`), or back to where it comes from (`media-echo`)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ctl.ng.calls import Call, Dialogue, Echo
from ctl.ng.errors import NgError
from ctl.ng.options import Options
from ctl.sessions.call_media import LEGS
from ctl.sessions.media_sessions import MediaRefused, MediaSessions
from ctl.sessions.treatment import NOBODY
from sip.effects import Leg


@dataclass
class Traffic:
    """Of all calls."""

    sessions: MediaSessions

    def ask(self, call: Call, dialogue: Dialogue, leg: Leg, asked: Options) -> None:
        """Do what an offer or answer of a leg asks for, from now on. Raises NgError."""
        before = call.dropped, dialogue.echo
        if dialogue.recorded and asked.echo not in (None, "", "blackhole"):
            raise NgError("media-echo: what goes back to who says it is not recorded; see: stop recording")
        if asked.dropped is not None:
            call.dropped = asked.dropped
        if asked.echo is not None:
            dialogue.echo = _toward(asked.echo, leg)
        try:
            self.regulate(call)
        except NgError:
            call.dropped, dialogue.echo = before
            raise

    def regulate(self, call: Call) -> None:
        """Have all dialogues of a call that have media be as was asked for. Raises NgError."""
        for dialogue in call.dialogues:
            before = self.sessions.treatments(dialogue.session)
            dropped = frozenset(LEGS) if call.dropped or dialogue.echo else NOBODY
            echoed = NOBODY if call.dropped else dialogue.echoed
            if (dropped, echoed) == (before.dropped, before.echoed) or dialogue.session not in self.sessions.calls():
                continue
            try:
                self.sessions.treat(dialogue.session, replace(before, dropped=dropped, echoed=echoed))
            except MediaRefused as refused:
                raise NgError(refused.reason) from None


def _toward(asked: Echo, leg: Leg) -> Echo:
    """`a` and `b` are who sends the message, and who is to get it."""
    other: Leg = "b" if leg == "a" else "a"
    return leg if asked == "a" else other if asked == "b" else asked
