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
from ctl.ng.calls import PREFIX, Call, Calls, Dialogue, Participant, Subscription, answered, keep, offered, selected
from ctl.ng.connecting import connect
from ctl.ng.errors import Malformed, NgError
from ctl.ng.exchange import Exchange
from ctl.ng.fragments import Fragments
from ctl.ng.media import Command as MediaCommand
from ctl.ng.media import MediaCommands, Player
from ctl.ng.publishing import Publishing
from ctl.ng.replies import call_statistics
from ctl.ng.request import Request
from ctl.ng.statistics import Statistics
from ctl.ng.subscriptions import Subscriptions
from ctl.ng.transforming import Transforming
from ctl.sessions.media_sessions import MediaRefused, MediaSessions
from ctl.sessions.programmer import FlowView
from ctl.sessions.streams import Stream
from sip.effects import Leg

DELETE_DELAY = 30
LIST_LIMIT = 32
CALL_ID_BYTES = 16
UNDESCRIBED = 481
"""Status of what the media sessions refuse of a leg that has said nothing yet."""
NO_MATCH = "Call-ID not found or tags didn't match"
TOO_MANY = "Parallel session limit reached"
UNAVAILABLE = "is not available on this relay"

Reply = dict[str, Any]
Command = Callable[[Request, float], Reply]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Limits:
    """max_sessions: calls at once, 0: as many as there are ports. load_limit: part of all ports in use, 0 to 1, from
    which on new calls are sent elsewhere. tos: of packets of calls for which nobody names one, -1: as they came.
    """

    max_sessions: int = 0
    load_limit: float = 1.0
    tos: int = -1
    delete_delay: int = DELETE_DELAY


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
    limits: Limits = Limits()
    recorder: recording.Recorder | None = None
    player: Player | None = None
    forwarder: recording.Forwarder | None = None
    calls: Calls = field(default_factory=Calls)
    statistics: Statistics = field(default_factory=Statistics)
    fragments: Fragments = field(default_factory=Fragments)

    def handle(self, dictionary: Mapping[str, Any], proxy: str, now: float) -> Reply:
        """Return the reply to a request that came from the address `proxy`. Never raises."""
        request = Request.of(dictionary)
        command = request.command
        method = self._commands.get(command)
        try:
            if method is None:
                raise NgError(_no_command(command))
            reply = method(request, now)
        except NgError as error:
            self.statistics.count(proxy, command, error=True)
            return {"result": "error", "error-reason": str(error)}
        except Exception as error:
            # Our own fault: this request fails, the others and their calls go on.
            log.exception("request failed", command=command, proxy=proxy)
            self.statistics.count(proxy, command, error=True)
            return {"result": "error", "error-reason": f"Internal error: {type(error).__name__}"}
        self.statistics.count(proxy, command, error=False)
        return {"result": "ok", **reply}

    def malformed(self, error: Malformed, proxy: str) -> Reply:
        """Return the reply to what was no request."""
        self.statistics.count(proxy, "", error=True)
        return {"result": "error", "error-reason": str(error)}

    def look(self, now: float) -> None:
        """Take away the calls whose time after `delete` is over; to be called every second."""
        for call in self.calls:
            if call.ending is not None and call.ending <= now:
                self._remove(call)

    @cached_property
    def exchange(self) -> Exchange:
        """How descriptions are read and written."""
        return Exchange(self.sessions, self.steady, self.secret, self.limits.tos, self.statistics.refused)

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

    def end_silent(self, session: str, seconds: float) -> None:
        """End the call that a silent session belongs to."""
        call = self.calls.of_session(session)
        if call is not None:
            log.warning("call ended: no media any more", call=call.call_id, silent_seconds=round(seconds, 1))
            self.statistics.timed_out(max(call.last_signal - call.created, 0.0) + seconds)
            self._remove(call)

    def end(self, call_id: str, now: float) -> bool:
        """End a call on behalf of an operator; return whether there was one."""
        call = self.calls.find(call_id)
        if call is None:
            return False
        self.statistics.terminated(now - call.created)
        self._remove(call)
        return True

    @cached_property
    def _commands(self) -> dict[str, Command]:
        return {
            "ping": self._ping,
            "offer": self._offer,
            "answer": self._answer,
            "delete": self._delete,
            "query": self._query,
            "list": self._list,
            "statistics": self._statistics,
            "start-recording": self._start_recording,
            "stop-recording": self._stop_recording,
            "pause-recording": self._pause_recording,
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

    def _offer(self, request: Request, now: float) -> Reply:
        sdp, call_id = _sdp(request), request.required("call-id", "No call-id in message")
        if request.has("fragment"):
            return self._trickle(call_id, "from-tag", request, sdp)
        asked = self.exchange.options(request)
        if asked.manner.loop_protect and self.exchange.is_ours(sdp):
            return {"sdp": sdp}
        call = self.calls.find(call_id) or Call(call_id, now, now)
        refusal = self._refusal(request, call)
        if refusal:
            return refusal
        if request.has("block-dtmf"):
            self.media.check_security(request)
        dialogue, offerer = offered(call, request, now)
        keep(call, request, offerer)
        leg = dialogue.leg_of(offerer)
        dialogue.transcoded = asked.codecs.bridged
        offer = partial(
            self.sessions.offer,
            here=self.exchange.known(asked.here),
            there=self.exchange.known(asked.there),
            bridge=asked.bridge,
            transcode=asked.codecs.transcoded,
            terms=self.exchange.terms(asked),
        )
        body = self.exchange.hand(offer, dialogue.session, leg, sdp, asked, request, request.text("label"))
        self._catch_up(call, dialogue, offerer, request.text("from-tag"))
        self._signalled(call, now)
        return {"sdp": body}

    def _answer(self, request: Request, now: float) -> Reply:
        sdp, call_id = _sdp(request), request.required("call-id", "No call-id in message")
        request.required("from-tag", "No from-tag in message")
        request.required("to-tag", "No to-tag in message")
        if request.has("fragment"):
            return self._trickle(call_id, "to-tag", request, sdp)
        asked = self.exchange.options(request)
        if asked.manner.loop_protect and self.exchange.is_ours(sdp):
            return {"sdp": sdp}
        call = self.calls.get(call_id)
        if request.has("block-dtmf"):
            self.media.check_security(request)
        dialogue, answerer = answered(call, request)
        keep(call, request, answerer)
        answer = partial(
            self.sessions.answer,
            transcode=dialogue.transcoded,
            ice=asked.ice,
            passive=asked.passive,
            tos=asked.tos,
            moves=asked.here.moves,
        )
        body = self.exchange.hand(
            answer, dialogue.session, dialogue.leg_of(answerer), sdp, asked, request, request.text("label")
        )
        self._catch_up(call, dialogue, answerer, request.text("to-tag"))
        self._follow(call)
        self.media.block_dialling(dialogue)
        call.last_signal, call.answered = now, self.steady()
        self.changed(call_id, call)
        return {"sdp": body, **self._record_answered(call, request)}

    def _signalled(self, call: Call, now: float) -> None:
        """Know a call that has come or changed."""
        if self.calls.find(call.call_id) is None:
            self.calls.add(call)
            self.statistics.began()
        call.last_signal, call.ending = now, None
        self.changed(call.call_id, call)

    def _publish(self, request: Request, now: float) -> Reply:
        sdp, call_id = _sdp(request), request.required("call-id", "No call-id in message")
        return self._alone(partial(self.publishing.publish, sdp=sdp), request, call_id, now)

    def _transform(self, request: Request, now: float) -> Reply:
        call_id = request.text("call-id") or token_hex(CALL_ID_BYTES)
        return self._alone(self.transforming.transform, request, call_id, now)

    def _alone(self, command: Callable[..., Reply], request: Request, call_id: str, now: float) -> Reply:
        """What makes a participant who is not in an exchange with another one."""
        call = self.calls.find(call_id) or Call(call_id, now, now)
        refusal = self._refusal(request, call)
        if refusal:
            return refusal
        reply = command(request, call, now=now)
        call.answered = self.steady()
        self._follow(call)
        self._signalled(call, now)
        return {**reply, "call-id": call_id}

    def _subscribe(self, request: Request, now: float) -> Reply:
        return self._treat(lambda request, call: self.subscriptions.request(request, call, now), request, now)

    def _subscribed(self, request: Request, now: float) -> Reply:
        sdp = _sdp(request)
        return self._treat(lambda request, call: self.subscriptions.answer(request, call, sdp), request, now)

    def _unsubscribe(self, request: Request, now: float) -> Reply:
        return self._treat(self.subscriptions.end, request, now)

    def _connect(self, request: Request, now: float) -> Reply:
        found = connect(request, self.calls, self.sessions, self.steady())
        if found is None:
            return {}
        self.statistics.carried(found.reports)
        self._follow(found.call)
        self._signalled(found.call, now)
        if not found.left.dialogues:
            self._remove(found.left)
        elif found.left is not found.call:
            self._follow(found.left)
            self._signalled(found.left, now)
        return self._record_answered(found.call, request)

    def _follow(self, call: Call) -> None:
        """What subscribers get comes from where the media is now; if it cannot, the call goes on without them."""
        try:
            self.subscriptions.follow(call)
        except NgError as error:
            log.warning("subscribers get nothing", call=call.call_id, why=str(error))

    def _trickle(self, call_id: str, key: str, request: Request, fragment: bytes) -> Reply:
        """Candidates that a participant names after its description (RFC 8840), or too early: then they wait for it."""
        tag = request.required(key, f"No {key} in message")
        call = self.calls.find(call_id)
        participant = call.find(tag) if call else None
        dialogues = list(call.dialogues_of(participant)) if call and participant else []
        told = [self._named(dialogue, dialogue.leg_of(participant), fragment) for dialogue in dialogues if participant]
        if call is not None and any(told):
            self.changed(call_id, call)
        elif not self.fragments.keep(call_id, tag, fragment, self.steady()):
            raise NgError("too many candidates of participants that have not described themselves")
        return {}

    def _named(self, dialogue: Dialogue, leg: Leg, fragment: bytes) -> bool:
        """Take in candidates; False where the leg has not described itself yet. Raises NgError."""
        try:
            self.sessions.trickle(dialogue.session, leg, fragment)
        except MediaRefused as refused:
            if refused.status == UNDESCRIBED:
                return False
            raise NgError(refused.reason) from None
        return True

    def _catch_up(self, call: Call, dialogue: Dialogue, participant: Participant, named: str | None) -> None:
        """Take in the candidates that came before the description of who names them."""
        for fragment in self.fragments.take(call.call_id, named, self.steady()):
            try:
                self._named(dialogue, dialogue.leg_of(participant), fragment)
            except NgError as error:
                log.warning("early candidates are of no use", call=call.call_id, why=str(error))

    def _delete(self, request: Request, now: float) -> Reply:
        call_id = request.required("call-id", "No call-id in message")
        call = self.calls.find(call_id)
        subscribed = call.subscription(request.text("from-tag") or "") if call else None
        if call is not None and subscribed is not None:
            return self._drop_subscriber(call, subscribed, request)
        ended = selected(call, request) if call else []
        if call is None or not ended:
            if request.has("fatal"):
                raise NgError(NO_MATCH)
            return {"warning": NO_MATCH}
        delay = request.number("delete-delay")
        delay = self.limits.delete_delay if delay is None else max(delay, 0)
        streams = self._streams(call)
        if len(ended) < len(call.dialogues):
            views = self._views(call)
            self._drop(call, ended)
        elif delay:
            call.ending = now + delay
            views = self._views(call)
            self.changed(call_id, call)
        else:
            views = self._remove(call)
        self.statistics.ended(now - call.created)
        return {} if request.has("fast") else call_statistics(call, views, streams)

    def _drop_subscriber(self, call: Call, subscription: Subscription, request: Request) -> Reply:
        views, streams = self._views(call), self._streams(call)
        reply = {} if request.has("fast") else call_statistics(call, views, streams, subscription.subscriber.tag)
        self.subscriptions.drop(call, subscription)
        self.changed(call.call_id, call)
        return reply

    def _query(self, request: Request, _now: float) -> Reply:
        call = self.calls.get(request.required("call-id", "No call-id in message"))
        return call_statistics(call, self._views(call), self._streams(call), request.text("from-tag"))

    def _list(self, request: Request, _now: float) -> Reply:
        limit = request.number("limit")
        limit = LIST_LIMIT if limit is None else max(limit, 0)
        return {"calls": [call.call_id for call, _ in zip(self.calls, range(limit), strict=False)]}

    def _statistics(self, _request: Request, now: float) -> Reply:
        sessions = self.sessions_of_calls()
        views = [view for session in sessions for view in self.sessions.query(session)]
        return {"statistics": self.statistics.reply(len(self.calls), views, now)}

    def _treat(self, command: MediaCommand, request: Request, now: float) -> Reply:
        call = self.calls.get(request.required("call-id", "No call-id in message"))
        try:
            return command(request, call)
        finally:
            call.last_signal = now
            self.changed(call.call_id, call)

    def _start_recording(self, request: Request, _now: float) -> Reply:
        return self._record(request, lambda call: recording.start(call, self.recorder, request))

    def _stop_recording(self, request: Request, now: float) -> Reply:
        if request.has("pause"):
            return self._pause_recording(request, now)
        return self._record(request, lambda call: recording.stop(call, self.recorder))

    def _pause_recording(self, request: Request, _now: float) -> Reply:
        return self._record(request, lambda call: recording.pause(call, self.recorder))

    def _forward(self, request: Request, now: float, *, on: bool) -> Reply:
        return self._treat(partial(self._forward_of, on=on), request, now)

    def _forward_of(self, request: Request, call: Call, *, on: bool) -> Reply:
        call.metadata = request.text("metadata") or call.metadata
        recording.forward(self.media.meant(request, call), self.forwarder, call.metadata, on=on)
        return {}

    def _record(self, request: Request, action: Callable[[Call], None]) -> Reply:
        call = self.calls.get(request.required("call-id", "No call-id in message"))
        try:
            action(call)
        finally:
            self.changed(call.call_id, call)
        return {}

    def _record_answered(self, call: Call, request: Request) -> Reply:
        """What an offer asked to be recorded is, as soon as there is media; the proxy is told if it cannot be."""
        if not call.record:
            return {}
        try:
            return self._start_recording(request, 0.0)
        except NgError as error:
            log.warning("call not recorded", call=call.call_id, why=str(error))
            return {"warning": f"the call is not recorded: {error}"}

    def _refusal(self, request: Request, call: Call) -> Reply | None:
        """A call more than the relay may have; the proxy asks another relay then."""
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

    def _streams(self, call: Call) -> dict[str, tuple[Stream, ...]]:
        of_subscribers = {each.session: self._described(each.session) for each in call.subscriptions}
        return {**{each.session: self.sessions.streams(each.session) for each in call.dialogues}, **of_subscribers}

    def _described(self, session: str) -> tuple[Stream, ...]:
        """A subscriber's m-lines: its own, or as long as it has not answered what it was offered."""
        return self.sessions.described(session).get("b") or self.sessions.streams(session)

    def _views(self, call: Call) -> dict[str, Sequence[FlowView]]:
        return {session: self.sessions.query(session) for session in call.sessions}

    def _drop(self, call: Call, ended: list[Dialogue]) -> None:
        for dialogue in ended:
            self.statistics.carried(self.sessions.delete(dialogue.session, self.steady()))
            call.dialogues.remove(dialogue)
        there = [each for dialogue in call.dialogues for each in (dialogue.a, dialogue.b)]
        call.participants = [each for each in call.participants if each in there]
        self._follow(call)
        self.changed(call.call_id, call)

    def _remove(self, call: Call) -> dict[str, Sequence[FlowView]]:
        """Take a call away; return the last figures of its flows."""
        last = {session: self.sessions.delete(session, self.steady()) for session in call.sessions}
        for dialogue in call.dialogues:
            self.statistics.carried(last[dialogue.session])
        self.calls.remove(call)
        self.changed(call.call_id, None)
        return dict(last)


def _sdp(request: Request) -> bytes:
    return request.required("sdp", "No SDP body in message").encode("utf-8", "surrogateescape")


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
