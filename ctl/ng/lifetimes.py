# SPDX-License-Identifier: GPL-3.0-or-later
"""How calls come, change and go: whether there is room for another, who is told, and when one is taken away."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import structlog

from ctl.ng.calls import Call, Calls, Dialogue
from ctl.ng.errors import NgError
from ctl.ng.request import Request
from ctl.ng.statistics import Statistics
from ctl.ng.subscriptions import Subscriptions
from ctl.sessions.flow_view import FlowView
from ctl.sessions.media_sessions import MediaSessions

DELETE_DELAY = 30
OFFER_TIMEOUT = 3600
TOO_MANY = "Parallel session limit reached"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Limits:
    """max_sessions: calls at once, 0: as many as there are ports. load_limit: part of all ports in use, 0 to 1, from
    which on new calls are sent elsewhere. offer_timeout: seconds after which a call that nobody answers is taken
    away, 0: never. tos: of packets of calls for which nobody names one, -1: as they came.
    """

    max_sessions: int = 0
    load_limit: float = 1.0
    tos: int = -1
    delete_delay: int = DELETE_DELAY
    offer_timeout: int = OFFER_TIMEOUT


@dataclass
class Lifetimes:
    """Of all calls. steady: a clock that never steps. changed: called with each call that is another than before, None
    for its state once it is gone.
    """

    sessions: MediaSessions
    calls: Calls
    steady: Callable[[], float]
    statistics: Statistics
    subscriptions: Subscriptions
    limits: Limits
    ports_used: Callable[[], float]
    changed: Callable[[str, Call | None], None]

    def refusal(self, request: Request, call: Call) -> dict[str, Any] | None:
        """Return what a proxy is told of a call more than the relay may have; it asks another relay then.

        Raises NgError, which tells it the same.
        """
        if self.calls.find(call.call_id):
            return None
        if self.limits.max_sessions and len(self.calls) >= self.limits.max_sessions:
            self.statistics.refused()
            raise NgError(TOO_MANY)
        used = self.ports_used()
        if used >= self.limits.load_limit and "load limit" in request.words("supports"):
            self.statistics.refused()
            return {"result": "load limit", "message": f"{used:.0%} of the media ports are in use"}
        return None

    def signalled(self, call: Call, now: float) -> None:
        """Know a call that has come or changed."""
        if self.calls.find(call.call_id) is None:
            self.calls.add(call)
            self.statistics.began()
        call.last_signal, call.ending = now, None
        self.changed(call.call_id, call)

    def follow(self, call: Call) -> None:
        """What subscribers get comes from where the media is now; if it cannot, the call goes on without them."""
        try:
            self.subscriptions.follow(call)
        except NgError as error:
            log.warning("subscribers get nothing", call=call.call_id, why=str(error))

    def look(self, now: float) -> None:
        """Take away the calls whose time after `delete` is over, or that nobody answers."""
        patience = self.limits.offer_timeout or inf
        for call in self.calls:
            if call.ending is not None:
                if call.ending <= now:
                    self.remove(call)
            elif call.answered is None and now - call.last_signal >= patience:
                log.warning("call taken away: nobody has answered it", call=call.call_id)
                self.statistics.unanswered(now - call.created)
                self.remove(call)

    def end_silent(self, session: str, seconds: float) -> None:
        """End the call that a silent session belongs to."""
        call = self.calls.of_session(session)
        if call is not None:
            log.warning("call ended: no media any more", call=call.call_id, silent_seconds=round(seconds, 1))
            self.statistics.timed_out(max(call.last_signal - call.created, 0.0) + seconds)
            self.remove(call)

    def end(self, call_id: str, now: float) -> bool:
        """End a call on behalf of an operator; return whether there was one."""
        call = self.calls.find(call_id)
        if call is None:
            return False
        self.statistics.terminated(now - call.created)
        self.remove(call)
        return True

    def drop(self, call: Call, ended: Sequence[Dialogue]) -> None:
        """Take some dialogues of a call away."""
        for dialogue in ended:
            self.statistics.carried(self.sessions.delete(dialogue.session, self.steady()))
            call.dialogues.remove(dialogue)
        there = [each for dialogue in call.dialogues for each in (dialogue.a, dialogue.b)]
        call.participants = [each for each in call.participants if each in there]
        self.follow(call)
        self.changed(call.call_id, call)

    def remove(self, call: Call) -> Mapping[str, Sequence[FlowView]]:
        """Take a call away; return the last figures of its flows."""
        last = {session: self.sessions.delete(session, self.steady()) for session in call.sessions}
        for dialogue in call.dialogues:
            self.statistics.carried(last[dialogue.session])
        self.calls.remove(call)
        self.changed(call.call_id, None)
        return last
