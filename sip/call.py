# SPDX-License-Identifier: GPL-3.0-or-later
"""A call between two peers, each of which only ever sees us: runs the table of `sip.call_table` over two legs."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Protocol

from sip.agent import Agent
from sip.bodies import session_description
from sip.call_table import CALL, SAVED, CallDo, CallSignal, CallState
from sip.causes import NORMAL, RECOVERY_ON_TIMER, cause_in, cause_of, status_for_caller
from sip.effects import Address, CallEnded, CloseMedia, ForgetCall, RevertMedia
from sip.errors import ProtocolError
from sip.hunt import Ending, Hunt
from sip.leg import Leg
from sip.leg_table import LegSignal, LegState
from sip.message import Message, Request, Response
from sip.outgoing import Destination, first_invite
from sip.timers import Alarm
from sip.transaction import Transaction

_FROM_LEG = {
    LegSignal.ACCEPT: CallSignal.ACCEPTED,
    LegSignal.NO_ACK: CallSignal.NO_ACK,
    LegSignal.BYE: CallSignal.BYE,
}


class CallHost(Protocol):
    """What a call needs of the core."""

    agent: Agent

    def ask_route(self, call: Call, now: float) -> None:
        """Ask where the call goes."""

    def ask_offer(self, call: Call, leg: Leg, sdp: bytes, other: Leg, now: float) -> None:
        """Ask for the offer of `leg` as the other leg shall see it; MEDIA_READY or REFUSED comes back."""

    def ask_answer(self, call: Call, leg: Leg, sdp: bytes, signal: CallSignal, now: float) -> None:
        """Ask for the answer of `leg` as the other leg shall see it; `signal` or REFUSED comes back."""

    def joined(self, call: Call, leg: Leg) -> None:
        """Find this dialog's requests from now on."""

    def left(self, call: Call, leg: Leg) -> None:
        """And no longer."""

    def save(self, call: Call) -> None:
        """Write the call down."""

    def forget(self, call: Call) -> None:
        """Nothing of the call is left."""


class Call:
    """One call. `a` is the caller's leg, `b` the leg of the callee that is tried or was reached."""

    def __init__(self, host: CallHost, identity: str, caller: str, dialled: str, domain: str, now: float) -> None:
        self.id = identity
        self.caller = caller
        self.dialled = dialled
        self.domain = domain
        self.state = CallState.ROUTING
        self.started = now
        self.ringing: float | None = None
        self.answered: float | None = None
        self.first: Request | None = None
        self.a = Leg("a", host.agent, self, LegState.INCOMING)
        self.b = Leg("b", host.agent, self, LegState.GONE)
        self.near, self.far = self.a, self.b
        self.late = False
        self.media = False
        self.turn = 0
        """Counts the offers; an answer to a question of an earlier turn is nothing."""
        self._host = host
        self._legs: list[Leg] = []
        self._hunt = Hunt(lambda peer: host.agent.local_for(peer) == peer)
        self._early = (180, "")
        self._early_sdp = b""
        self._offered = False
        self._alarm: Alarm | None = None

    # --- what comes in ---

    def start(self, request: Request, transaction: Transaction, source: Address, now: float) -> None:
        """Begin with the INVITE of an authenticated caller."""
        self.first = request
        self.late = not session_description(request)
        self._legs = [self.a]
        self.a.receive(request, transaction, source)
        self.a.alert(100, None, b"", now)
        self._host.ask_route(self, now)

    def routed(self, targets: Iterable[Destination], now: float) -> None:
        """The route was found."""
        self._hunt.add(targets)
        self.feed(CallSignal.ROUTED, now)

    def refused(self, status: int, reason: str, now: float) -> None:
        """We ourselves, routing or media, say no."""
        self.feed(CallSignal.REFUSED, now, ending=Ending(status, cause_of(status), "server", reason))

    def cancel(self, leg: Leg, request: Request, now: float) -> None:
        """CANCEL, or a BYE before the answer, of the INVITE that `leg` has pending."""
        if leg.pending:
            self.feed(CallSignal.CANCEL, now, ending=Ending(487, cause_in(request, NORMAL), leg.name))

    def change(self, leg: Leg, request: Request, transaction: Transaction, source: Address, now: float) -> bool:
        """A re-INVITE, or an UPDATE with an offer, of `leg`; whether the state allows it."""
        if (self.state, CallSignal.CHANGE) not in CALL:
            return False
        leg.receive(request, transaction, source)
        self.near, self.far = leg, self.other(leg)
        self.late = not session_description(request)
        self._offered = False
        self.turn += 1
        if not leg.updating:
            leg.alert(100, None, b"", now)
        return self.feed(CallSignal.CHANGE, now, request)

    def hang_up(self, cause: int, reason: str, now: float) -> None:
        """An operator or a limit ends the call."""
        self.feed(CallSignal.HANGUP, now, ending=Ending(480, cause, "server", reason))

    def fail(self, status: int, now: float) -> None:
        """The call cannot go on."""
        self.feed(CallSignal.HANGUP, now, ending=Ending(status, cause_of(status), "server"))

    def other(self, leg: Leg) -> Leg:
        """The leg that is not this one."""
        return self.b if leg is self.a else self.a

    @property
    def over(self) -> bool:
        """Whether nothing of the call is left."""
        return self.state is CallState.ENDED and all(leg.state is LegState.GONE for leg in self._legs)

    def touched(self) -> None:
        """Something that a restarted process must know has changed."""
        if self.state in SAVED:
            self._host.save(self)

    def adopt(self, a: Leg, b: Leg, near: Leg) -> None:
        """Take these legs, when the call is restored."""
        self.a, self.b, self._legs = a, b, [a, b]
        self.near, self.far = near, self.other(near)
        self.first = a.invite

    def resume(self, now: float) -> None:
        """Go on after a restart, or end where the media's answer was lost with the process."""
        if self.a.server:
            self.a.server.on_cancel = partial(self.cancel, self.a)
        if self.state is CallState.CALLING:
            self._start_ringing(now)
        elif self.state is CallState.ANSWERING:
            self.fail(503, now)

    # --- what the legs tell ---

    def told(self, leg: Leg, signal: LegSignal, message: Request | Response | None, now: float) -> None:
        """Turn a leg's news into the call's."""
        match signal:
            case LegSignal.PROVISIONAL if isinstance(message, Response):
                if message.status > 100:
                    self.feed(CallSignal.PROGRESS, now, message)
            case LegSignal.REJECT:
                self._rejected(leg, message, now)
            case LegSignal.ACK:
                self._acked(message, now)
            case LegSignal.BYE | LegSignal.NO_ACK:
                self._torn(leg, signal, message, now)
            case _:
                self.feed(_FROM_LEG[signal], now, message)

    def joined(self, leg: Leg) -> None:
        """A leg has its dialog."""
        self._host.joined(self, leg)

    def left(self, leg: Leg, now: float) -> None:
        """A leg is gone; so may be the call."""
        self._host.left(self, leg)
        if self.over:
            self._host.forget(self)

    def ring(self, name: str, now: float) -> None:
        """The callee rang too long."""
        self._hunt.unanswered()
        self.feed(CallSignal.UNANSWERED, now)

    def _rejected(self, leg: Leg, message: Request | Response | None, now: float) -> None:
        status = message.status if isinstance(message, Response) else 408
        lost = Ending(status, RECOVERY_ON_TIMER if status == 408 else cause_of(status), leg.name)
        if status in (408, 481) and self.feed(CallSignal.LOST, now, ending=lost):
            return
        self.feed(CallSignal.FAILED, now, message)

    def _acked(self, message: Request | Response | None, now: float) -> None:
        sdp = session_description(message) if message else b""
        if not self.late:
            self.feed(CallSignal.ACKED, now)
        elif sdp:
            self.feed(CallSignal.ACK_ANSWER, now, sdp=sdp)
        else:
            self.feed(CallSignal.ACK_EMPTY, now, ending=Ending(488, cause_of(488), self.near.name, "No Answer In ACK"))

    def _torn(self, leg: Leg, signal: LegSignal, message: Request | Response | None, now: float) -> None:
        if signal is LegSignal.NO_ACK:
            ending = Ending(408, RECOVERY_ON_TIMER, "server", "No ACK")
        else:
            ending = Ending(480, cause_in(message, NORMAL), leg.name)
        self.feed(_FROM_LEG[signal], now, ending=ending)

    # --- the machine ---

    def feed(
        self,
        signal: CallSignal,
        now: float,
        message: Message | None = None,
        sdp: bytes = b"",
        ending: Ending | None = None,
    ) -> bool:
        """Take one step of the table; whether it has an entry."""
        step = CALL.get((self.state, signal))
        if step is None:
            return False
        self.state, actions = step
        for action in actions:
            self._act(action, now, message, sdp, ending)
        return True

    def _act(self, action: CallDo, now: float, message: Message | None, sdp: bytes, ending: Ending | None) -> None:
        match action:
            case CallDo.NEXT_TARGET:
                self._next_target(now)
            case CallDo.NOTE:
                self._hunt.failed(message)
            case CallDo.OFFER:
                self._offer(now)
            case CallDo.INVITE:
                self._invite(sdp, now)
            case CallDo.REINVITE:
                self.far.reinvite(sdp, now)
            case CallDo.PROGRESS if isinstance(message, Response):
                self._progress(message, now)
            case CallDo.EARLY:
                self.near.alert(*self._early, sdp, now)
            case CallDo.TAKE_ANSWER if isinstance(message, Response):
                self._take_answer(message, now)
            case CallDo.ANSWER:
                self._answer(sdp, now)
            case CallDo.COMPLETE:
                self._host.ask_answer(self, self.near, sdp, CallSignal.MEDIA_READY, now)
            case CallDo.CONFIRM:
                self.far.confirm(sdp, now)
            case CallDo.GIVE_UP_FAR:
                self.far.end((480, None), (), now)
            case CallDo.WITHDRAW:
                self.far.withdraw(now)
            case CallDo.REFUSE_CHANGE:
                self._refuse_change(message, ending, now)
            case CallDo.SAVE:
                self.touched()
            case CallDo.FINISH if ending:
                self._finish(ending, now)

    def _next_target(self, now: float) -> None:
        self._stop_ringing()
        self.turn += 1
        destination = self._hunt.next()
        if destination is None:
            self.feed(CallSignal.EXHAUSTED, now, ending=self._hunt.ending)
            return
        self.b = self.far = Leg("b", self._host.agent, self, LegState.CALLING)
        self.b.source = destination.address
        self._early_sdp = b""
        self._offer(now)

    def _offer(self, now: float) -> None:
        request = self.first if self.state is CallState.OFFERING else self.near.invite
        if self.late or request is None:
            self.feed(CallSignal.MEDIA_READY, now)
        else:
            self._ask_offer(self.near, session_description(request), self.far, now)

    def _ask_offer(self, leg: Leg, sdp: bytes, other: Leg, now: float) -> None:
        self.media = self._offered = True
        self._host.ask_offer(self, leg, sdp, other, now)

    def _invite(self, sdp: bytes, now: float) -> None:
        destination = self._hunt.current
        assert destination
        assert self.first
        agent = self._host.agent
        local = agent.local_for(destination.address)
        request = first_invite(agent, self.first, destination, local, self.caller, self.b.tag, sdp)
        self._legs.append(self.b)
        self.b.call(request, destination.address, local, now)
        self._start_ringing(now)

    def _progress(self, response: Response, now: float) -> None:
        if self.ringing is None and response.status == 180:
            self.ringing = now
        try:
            sdp = b"" if self.late else session_description(response)
        except ProtocolError:
            sdp = b""
        if not sdp or sdp == self._early_sdp:
            self.near.alert(response.status, response.reason, b"", now)
            return
        self._early, self._early_sdp = (response.status, response.reason), sdp
        self._host.ask_answer(self, self.far, sdp, CallSignal.EARLY_READY, now)

    def _take_answer(self, response: Response, now: float) -> None:
        """The far leg's 2xx: its answer is acknowledged at once, its offer when the answer to that is there."""
        self._stop_ringing()
        try:
            sdp = session_description(response) or (b"" if self.late else self._early_sdp)
        except ProtocolError:
            sdp = b""
        if not self.late:
            self.far.confirm(b"", now)
        if not sdp:
            self.refused(488, "No Session Description", now)
        elif self.late:
            self._ask_offer(self.far, sdp, self.near, now)
        else:
            self._host.ask_answer(self, self.far, sdp, CallSignal.MEDIA_READY, now)

    def _answer(self, sdp: bytes, now: float) -> None:
        if self.answered is None:
            self.answered = now
            self.first = None
        self.near.answer(sdp, now)
        if self.near.updating:
            self.feed(CallSignal.ACKED, now)

    def _refuse_change(self, message: Message | None, ending: Ending | None, now: float) -> None:
        if ending:
            self.near.reject(ending.status, ending.reason or None, now)
        elif isinstance(message, Response):
            status = message.status if message.status == 491 else status_for_caller(message.status)
            self.near.reject(status, message.reason if status == message.status else None, now)
        else:
            self.near.reject(504, None, now)
        if self._offered:
            self._host.agent.effects.append(RevertMedia(self.id))
        self.touched()

    def _start_ringing(self, now: float) -> None:
        agent = self._host.agent
        self._alarm = agent.timers.start(self, "unanswered", now + agent.settings.ring_time)

    def _stop_ringing(self) -> None:
        self._host.agent.timers.stop(self._alarm)
        self._alarm = None

    def _finish(self, ending: Ending, now: float) -> None:
        self._stop_ringing()
        self._hunt.stop()
        refusal = (487, None) if self.answered else (ending.status, ending.reason or None)
        farewell = [] if ending.cause == NORMAL else [("Reason", f"Q.850;cause={ending.cause}")]
        for leg in tuple(self._legs):
            leg.end(refusal, farewell, now)
        self._record(ending, now)
        self.first = None
        if self.over:
            self._host.forget(self)

    def _record(self, ending: Ending, now: float) -> None:
        effects = self._host.agent.effects
        if self.media:
            effects.append(CloseMedia(self.id))
        effects.append(
            CallEnded(
                call=self.id,
                caller=self.caller,
                dialled=self.dialled,
                a_call_id=self.a.call_id,
                b_call_id=self.b.call_id or None,
                started=self.started,
                ringing=self.ringing,
                answered=self.answered,
                ended=now,
                status=200 if self.answered is not None else ending.status,
                cause=ending.cause,
                ended_by=ending.by,
                reason=ending.reason,
            )
        )
        effects.append(ForgetCall(self.id))
