# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of calls, gathered from the media sessions for `query` and `delete`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ctl.ng.calls import Call, Calls, Participant
from ctl.ng.merging import merged
from ctl.ng.recording import Forwarder
from ctl.ng.replies import NOBODY, call_statistics
from ctl.sessions.flow_view import FlowView
from ctl.sessions.media_sessions import MediaSessions
from ctl.sessions.streams import Stream
from sip.effects import Leg

Views = Mapping[str, Sequence[FlowView]]
Described = Mapping[str, Mapping[Leg, Sequence[Stream]]]


@dataclass
class Reporting:
    """Of all calls. steady: the clock by which packets are stamped."""

    sessions: MediaSessions
    steady: Callable[[], float]
    forwarder: Forwarder | None

    def of(self, call: Call, now: float, tag: str | None = None) -> dict[str, Any]:
        """Return the figures of a call as they are. now: seconds since the epoch."""
        return self.told(call, self.views(call), self.described(call), now, tag)

    def told(
        self, call: Call, views: Views, described: Described, now: float, tag: str | None = None
    ) -> dict[str, Any]:
        """Return the figures of a call of which flows and descriptions were taken before."""
        views = {session: merged(found) for session, found in views.items()}
        forwarded = frozenset(_forwarded(call, self.forwarder)) if self.forwarder else NOBODY
        return call_statistics(call, views, described, now - self.steady(), tag, forwarded=forwarded)

    def views(self, call: Call) -> Views:
        """Return the flows of a call by session, those before them included."""
        return {session: [*self.sessions.ended(session), *self.sessions.query(session)] for session in call.sessions}

    def described(self, call: Call) -> Described:
        """Return how its participants describe their media, by session."""
        return {session: dict(self.sessions.described(session)) for session in call.sessions}

    def all(self, calls: Calls) -> list[FlowView]:
        """Return the flows of all calls, but for what goes to subscribers."""
        return [view for session in _sessions(calls) for view in self.sessions.query(session)]

    def all_ended(self, calls: Calls) -> list[FlowView]:
        """Return those of the same calls that are no more."""
        return [view for session in _sessions(calls) for view in self.sessions.ended(session)]


def _sessions(calls: Calls) -> Iterator[str]:
    return (dialogue.session for call in calls for dialogue in call.dialogues)


def _forwarded(call: Call, forwarder: Forwarder) -> Iterator[Participant]:
    for dialogue in call.dialogues:
        legs = forwarder.forwarded(dialogue.session)
        yield from (each for each in (dialogue.a, dialogue.b) if dialogue.leg_of(each) in legs)
