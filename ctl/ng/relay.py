# SPDX-License-Identifier: GPL-3.0-or-later
"""Does what proxies ask for: one method for each command, a dictionary in and one out.

What a command cannot do is said with a text, never acknowledged: a proxy that believes in a recording which does not
run is worse off than one that knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from secrets import token_hex
from typing import Any

import structlog

from ctl.ng import recording
from ctl.ng.calls import PREFIX, Call, Calls, Subscription, selected
from ctl.ng.connecting import connect
from ctl.ng.errors import Malformed, NgError
from ctl.ng.exchange import Exchange
from ctl.ng.lifetimes import Lifetimes, Limits
from ctl.ng.media import Command as MediaCommand
from ctl.ng.media import MediaCommands, MediaPlayer
from ctl.ng.negotiating import Negotiating
from ctl.ng.publishing import Publishing
from ctl.ng.reporting import Reporting
from ctl.ng.request import Request
from ctl.ng.statistics import Interface, Statistics
from ctl.ng.subscriptions import Subscriptions
from ctl.ng.traffic import Traffic
from ctl.ng.transforming import Transforming
from ctl.ng.trickling import Trickling
from ctl.sessions.hold_music import HoldMusic
from ctl.sessions.media_sessions import MediaSessions

LIST_LIMIT = 32
CALL_ID_BYTES = 16
NO_MATCH = "Call-ID not found or tags didn't match"
UNAVAILABLE = "is not available on this relay"

Reply = dict[str, Any]
Command = Callable[[Request, float], Reply]

log = structlog.get_logger()


@dataclass
class Relay:
    """All calls that proxies control. `now` is seconds since the epoch, `steady` a clock that never steps.

    changed: called with each call that is another than before, None for its state once it is gone.
    """

    sessions: MediaSessions
    steady: Callable[[], float]
    secret: bytes
    changed: Callable[[str, Call | None], None] = lambda _id, _call: None
    ports_used: Callable[[], float] = lambda: 0.0
    limits: Limits = field(default_factory=Limits)
    recorder: recording.Recorder | None = None
    player: MediaPlayer | None = None
    forwarder: recording.Forwarder | None = None
    calls: Calls = field(default_factory=Calls)
    statistics: Statistics = field(default_factory=Statistics)
    interfaces: Callable[[], Sequence[Interface]] = lambda: ()

    def handle(self, dictionary: Mapping[str, Any], proxy: str, now: float) -> Reply:
        """Return the reply to a request that came from the address `proxy`. Never raises."""
        request = Request.of(dictionary)
        command = request.command
        method, began = self._commands.get(command), self.steady()
        try:
            if method is None:
                raise NgError(_no_command(command))
            reply = {"result": "ok", **method(request, now)}
        except NgError as error:
            reply = {"result": "error", "error-reason": str(error)}
        except Exception as error:
            # Our own fault: this request fails, the others and their calls go on.
            log.exception("request failed", command=command, proxy=proxy)
            reply = {"result": "error", "error-reason": f"Internal error: {type(error).__name__}"}
        failed = reply["result"] == "error"
        self.statistics.requests.count(proxy, command, self.steady() - began, error=failed)
        return reply

    def malformed(self, error: Malformed, proxy: str) -> Reply:
        """Return the reply to what was no request."""
        self.statistics.requests.count(proxy, "", 0.0, error=True)
        return {"result": "error", "error-reason": str(error)}

    @cached_property
    def lifetimes(self) -> Lifetimes:
        """How calls come, change and go."""
        return Lifetimes(
            self.sessions,
            self.calls,
            self.steady,
            self.statistics,
            self.subscriptions,
            self.limits,
            self.ports_used,
            self.changed,
        )

    @cached_property
    def negotiating(self) -> Negotiating:
        """Offers and answers."""
        return Negotiating(
            self.exchange, self.trickling, self.lifetimes, self.media, self.recordings, self.traffic, self.music
        )

    @cached_property
    def traffic(self) -> Traffic:
        """Media that goes nowhere, or back."""
        return Traffic(self.sessions)

    @cached_property
    def music(self) -> HoldMusic | None:
        """What is played to those on hold."""
        return HoldMusic(self.sessions, self.player, self.calls.hold_sound) if self.player else None

    @cached_property
    def recordings(self) -> recording.RecordingCommands:
        """Which calls are recorded."""
        return recording.RecordingCommands(self.calls, self.recorder, self.changed)

    @cached_property
    def exchange(self) -> Exchange:
        """How descriptions are read and written."""
        return Exchange(self.sessions, self.steady, self.secret, self.limits.tos, self.statistics.refused)

    @cached_property
    def reporting(self) -> Reporting:
        """What is told of calls."""
        return Reporting(self.sessions, self.steady, self.forwarder)

    @cached_property
    def trickling(self) -> Trickling:
        """Candidates that come apart from descriptions."""
        return Trickling(self.sessions, self.calls, self.steady, self.changed)

    @cached_property
    def subscriptions(self) -> Subscriptions:
        """Who listens to what participants say."""
        return Subscriptions(self.sessions, self.exchange)

    @cached_property
    def publishing(self) -> Publishing:
        """Participants that speak to subscribers alone."""
        return Publishing(self.sessions, self.exchange)

    @cached_property
    def transforming(self) -> Transforming:
        """Participants whose sound goes somewhere in other codecs."""
        return Transforming(self.sessions, self.exchange)

    @cached_property
    def media(self) -> MediaCommands:
        """What can be done to the media of calls."""
        return MediaCommands(self.sessions, self.steady, self.player)

    def owns(self, session: str) -> bool:
        """Whether a session is of a call of ours. This and the next two implement `silent_calls.Owner`."""
        return session.startswith(PREFIX)

    def sessions_of_calls(self) -> list[str]:
        """Return what the media sessions know as the dialogues of all calls."""
        return [dialogue.session for call in self.calls for dialogue in call.dialogues]

    def answered(self, session: str) -> float | None:
        """Return when the call that a session belongs to was last signalled, once it is answered."""
        call = self.calls.of_session(session)
        return None if call is None else call.answered

    def look(self, now: float) -> None:
        """Take away calls whose time is over; to be called every second."""
        self.lifetimes.look(now)

    def end_silent(self, session: str, seconds: float) -> None:
        """End the call that a silent session belongs to."""
        self.lifetimes.end_silent(session, seconds)

    def end(self, call_id: str, now: float) -> bool:
        """End a call on behalf of an operator; return whether there was one."""
        return self.lifetimes.end(call_id, now)

    @cached_property
    def _commands(self) -> dict[str, Command]:
        return {
            "ping": self._ping,
            "offer": self.negotiating.offer,
            "answer": self.negotiating.answer,
            "delete": self._delete,
            "query": self._query,
            "list": self._list,
            "statistics": self._statistics,
            "start-recording": self.recordings.start,
            "stop-recording": self.recordings.stop,
            "pause-recording": self.recordings.pause,
            "start-forwarding": partial(self._forward, on=True),
            "stop-forwarding": partial(self._forward, on=False),
            "publish": self._publish,
            "transform": self._transform,
            "subscribe-request": self._subscribe,
            "subscribe-answer": self._subscribed,
            "unsubscribe": self._unsubscribe,
            "connect": self._connect,
            **{name: partial(self._treat, command) for name, command in self.media.table().items()},
        }

    def _ping(self, _request: Request, _now: float) -> Reply:
        return {"result": "pong"}

    def _publish(self, request: Request, now: float) -> Reply:
        sdp, call_id = request.sdp(), request.call_id()
        return self._alone(partial(self.publishing.publish, sdp=sdp), request, call_id, now)

    def _transform(self, request: Request, now: float) -> Reply:
        call_id = request.text("call-id") or token_hex(CALL_ID_BYTES)
        return self._alone(self.transforming.transform, request, call_id, now)

    def _alone(self, command: Callable[..., Reply], request: Request, call_id: str, now: float) -> Reply:
        """What makes a participant who is not in an exchange with another one."""
        call = self.calls.find(call_id) or Call(call_id, now, now)
        refusal = self.lifetimes.refusal(request, call)
        if refusal:
            return refusal
        reply = command(request, call, now=now)
        call.answered = self.steady()
        self.lifetimes.follow(call)
        self.lifetimes.signalled(call, now)
        return {**reply, "call-id": call_id}

    def _subscribe(self, request: Request, now: float) -> Reply:
        return self._treat(lambda request, call: self.subscriptions.request(request, call, now), request, now)

    def _subscribed(self, request: Request, now: float) -> Reply:
        sdp = request.sdp()
        return self._treat(lambda request, call: self.subscriptions.answer(request, call, sdp), request, now)

    def _unsubscribe(self, request: Request, now: float) -> Reply:
        return self._treat(self.subscriptions.end, request, now)

    def _connect(self, request: Request, now: float) -> Reply:
        found = connect(request, self.calls, self.sessions, self.steady())
        if found is None:
            return {}
        self.statistics.carried(found.reports)
        self.traffic.regulate(found.call)
        self.lifetimes.follow(found.call)
        self.lifetimes.signalled(found.call, now)
        if not found.left.dialogues:
            self.lifetimes.remove(found.left)
        elif found.left is not found.call:
            self.lifetimes.follow(found.left)
            self.lifetimes.signalled(found.left, now)
        return self.recordings.begin(found.call, request)

    def _delete(self, request: Request, now: float) -> Reply:
        call_id = request.call_id()
        call = self.calls.find(call_id)
        subscribed = call.subscription(request.text("from-tag") or "") if call else None
        if call is not None and subscribed is not None:
            return self._drop_subscriber(call, subscribed, request, now)
        ended = selected(call, request) if call else []
        if call is None or not ended:
            if request.has("fatal"):
                raise NgError(NO_MATCH)
            return {"warning": NO_MATCH}
        delay = request.number("delete-delay")
        delay = self.limits.delete_delay if delay is None else max(delay, 0)
        described = self.reporting.described(call)
        if len(ended) < len(call.dialogues):
            views = self.reporting.views(call)
            self.lifetimes.drop(call, ended)
        elif delay:
            call.ending = now + delay
            views = self.reporting.views(call)
            self.changed(call_id, call)
        else:
            views = self.lifetimes.remove(call)
        self.statistics.ended(now - call.created)
        return {} if request.has("fast") else self.reporting.told(call, views, described, now)

    def _drop_subscriber(self, call: Call, subscription: Subscription, request: Request, now: float) -> Reply:
        reply = {} if request.has("fast") else self.reporting.of(call, now, subscription.subscriber.tag)
        self.subscriptions.drop(call, subscription)
        self.changed(call.call_id, call)
        return reply

    def _query(self, request: Request, now: float) -> Reply:
        call = self.calls.get(request.call_id())
        return self.reporting.of(call, now, request.text("from-tag"))

    def _list(self, request: Request, _now: float) -> Reply:
        limit = request.number("limit")
        limit = LIST_LIMIT if limit is None else max(limit, 0)
        return {"calls": [call.call_id for call, _ in zip(self.calls, range(limit), strict=False)]}

    def _statistics(self, _request: Request, now: float) -> Reply:
        views = self.reporting.all(self.calls)
        ended = self.reporting.all_ended(self.calls)
        return {"statistics": self.statistics.reply(len(self.calls), views, self.interfaces(), now, ended)}

    def _treat(self, command: MediaCommand, request: Request, now: float) -> Reply:
        call = self.calls.get(request.call_id())
        try:
            return command(request, call)
        finally:
            call.last_signal = now
            self.changed(call.call_id, call)

    def _forward(self, request: Request, now: float, *, on: bool) -> Reply:
        return self._treat(partial(self._forward_of, on=on), request, now)

    def _forward_of(self, request: Request, call: Call, *, on: bool) -> Reply:
        call.metadata = request.text("metadata") or call.metadata
        recording.forward(self.media.meant(request, call), self.forwarder, call.metadata, on=on)
        return {}


def _no_command(command: str) -> str:
    why = NOT_HERE.get(command)
    return f"{command} {UNAVAILABLE}: {why}" if why else "Unrecognized command"


_MADE = "calls are made by offer and answer"
NOT_HERE = {
    **dict.fromkeys(("create", "create-answer", "mesh"), _MADE),
    **dict.fromkeys(("inject-start", "inject-stop"), "a sound is put in by: play media"),
    "cli": "see: voxdp ng ctl",
}
"""Commands of the protocol that are not done here, and what there is instead."""
