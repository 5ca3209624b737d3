# SPDX-License-Identifier: GPL-3.0-or-later
"""What a call does at each step of its table: one function for each action of `sip.call_table.CallDo`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from sip import attending
from sip.bodies import session_description
from sip.branches import branch_of
from sip.call_event import Event
from sip.call_table import CallDo, CallSignal, CallState
from sip.causes import NORMAL, cause_of, status_for_caller
from sip.effects import CallEnded, CloseMedia, ForgetCall, RevertMedia
from sip.errors import ProtocolError
from sip.expiry import settle
from sip.hunt import Ending
from sip.inviting import PATIENCE
from sip.leg import Leg
from sip.message import Message, Response
from sip.offer_answer import check_answer, check_offer, fresh_offer
from sip.reliable import reliable_number

if TYPE_CHECKING:
    from sip.call import Call

# --- the search ---


def _next_target(call: Call, event: Event, now: float) -> None:
    call.stop_ringing()
    call.turn += 1
    group = call.branches.hunt.next()
    if not group:
        call.end_with(CallSignal.UNREACHED if call.waits else CallSignal.EXHAUSTED, call.branches.hunt.ending, now)
        return
    if group[0].service:
        signal = CallSignal.WAITED if call.waits else CallSignal.HOUSE
        call.feed(signal, now, Event(service=group[0].service, early=group[0].early))
        return
    legs = [each.leg or call.new_leg() for each in group]
    for leg, destination in zip(legs, group, strict=True):
        if not destination.leg:
            leg.source, leg.diversions = destination.address, destination.diversions
            leg.user, leg.trunk = destination.user, destination.trunk
    call.branches.begin(group, legs)
    call.reach(legs[0])
    _offer(call, event, now)


def _invite(call: Call, event: Event, now: float) -> None:
    for leg, destination in tuple(call.branches.legs.items()):
        sdp = call.branches.offers.get(leg.side, b"")
        if destination.leg:
            _reach_lent(call, leg, sdp, now)
            continue
        call.legs.append(leg)
        call.host.asks.equip(leg)
        local = call.host.agent.local_for(destination.address)
        request = call.host.asks.invitation(call, leg, destination, local, sdp)
        leg.call(request, destination.address, local, now)
    call.start_ringing(now)


def _reach_lent(call: Call, leg: Leg, sdp: bytes, now: float) -> None:
    """The callee is in a call that it is to leave for this one: its dialog is there."""
    lender = leg.owner
    if lender is not call and not call.borrow(leg, now):
        call.end_with(CallSignal.REFUSED, Ending(481, cause_of(481), "server", "Nothing To Replace"), now)
        return
    call.legs.append(leg)
    leg.name = "b"
    leg.reinvite(sdp, now, PATIENCE)


def _note(call: Call, event: Event, now: float) -> None:
    if event.leg:
        call.branches.failed(event.leg, event.message, now)


def _redirect(call: Call, event: Event, now: float) -> None:
    call.stop_ringing()
    if isinstance(event.message, Response) and event.leg:
        call.reach(event.leg)
        call.host.asks.route(call, now, event.message)


def _give_up_far(call: Call, event: Event, now: float) -> None:
    call.branches.give_up((), now)


# --- offers on their way ---


def _offer(call: Call, event: Event, now: float) -> None:
    request = call.first if call.state is CallState.OFFERING else call.near.asked.request
    if call.originating:
        call.media = call.offered = True
        call.host.asks.attends(call, call.branches.faces, now)
        return
    if not call.waits and (call.late or request is None):
        call.feed(CallSignal.MEDIA_READY, now)
        return
    try:
        if call.lent_near:
            sdp = fresh_offer(call.near.heard)
        elif call.waits or request is None:
            sdp = attending.offer(call)
        else:
            sdp = session_description(request)
            check_offer(sdp, call.near.said, call.near.heard)
    except ProtocolError as error:
        call.refused(error.status, error.reason, now)
    else:
        _note_offer(call, call.near, sdp)
        if call.state is CallState.OFFERING:
            call.host.asks.offers(call, call.near, sdp, call.branches.faces, now)
        else:
            call.host.asks.offer(call, call.near, sdp, call.far, CallSignal.MEDIA_READY, now)


def _ask_offer(call: Call, leg: Leg, sdp: bytes, other: Leg, signal: CallSignal, now: float) -> None:
    _note_offer(call, leg, sdp)
    call.host.asks.offer(call, leg, sdp, other, signal, now)


def _note_offer(call: Call, leg: Leg, sdp: bytes) -> None:
    call.media = call.offered = True
    if not call.waits:  # what is offered for one who waits can be less than what it said
        leg.heard = sdp


def _ask_answer(call: Call, leg: Leg, sdp: bytes, signal: CallSignal, now: float) -> None:
    """Raises SdpError where it is no answer to what we offered."""
    check_answer(leg.said, sdp)
    leg.heard = sdp
    call.host.asks.answer(call, leg, sdp, signal, now)


def _reinvite(call: Call, event: Event, now: float) -> None:
    call.far.reinvite(event.sdp, now)


def _update(call: Call, event: Event, now: float) -> None:
    if not call.far.update(event.sdp, now, call.update_tag):
        call.refused(491, "Request Pending", now)


def _resume(call: Call, event: Event, now: float) -> None:
    call.near, call.far = call.a, call.b
    deferred, call.deferred = call.deferred, []
    for signal, later in deferred:
        call.feed(signal, now, later)


def _withdraw(call: Call, event: Event, now: float) -> None:
    call.far.asking.withdraw(now)


def _refuse_change(call: Call, event: Event, now: float) -> None:
    if event.ending and not isinstance(event.message, Response):
        call.near.reject(event.ending.status, event.ending.reason or None, now)
    elif isinstance(event.message, Response):
        status = event.message.status if event.message.status == 491 else status_for_caller(event.message.status)
        call.near.reject(status, event.message.reason if status == event.message.status else None, now)
    else:
        call.near.reject(504, None, now)
    if call.offered:
        call.host.agent.effects.append(RevertMedia(call.id))
    call.touched()


# --- provisional responses ---


def _progress(call: Call, event: Event, now: float) -> None:
    response, leg = event.message, event.leg
    if not isinstance(response, Response) or not leg:
        return
    if call.ringing is None and response.status == 180:
        call.ringing = now
    sdp, branch = _description(response), branch_of(leg, response)
    call.early = response.status, response.reason, branch
    if call.house:
        call.report(response.status, response.reason, now)  # the caller hears us, and nobody else before the answer
    elif call.late:
        _progress_late(call, leg, response, sdp, now)
    elif not sdp or call.branches.early.get(branch) == sdp or _no_answer(leg, sdp):
        call.tell(response.status, response.reason, b"", branch, now)
    else:
        call.branches.early[branch] = sdp
        _ask_answer(call, leg, sdp, CallSignal.EARLY_READY, now)


def _progress_late(call: Call, leg: Leg, response: Response, sdp: bytes, now: float) -> None:
    """An offer may come in a reliable 1xx only, for only then its answer has a way (RFC 3262 §5)."""
    if sdp and reliable_number(response) is not None and call.owed is None:
        call.owed, call.b, call.far = response, leg, leg
        _ask_offer(call, leg, sdp, call.a, CallSignal.EARLY_READY, now)
    else:
        call.tell(response.status, response.reason, b"", branch_of(leg, response), now)


def _early(call: Call, event: Event, now: float) -> None:
    status, reason, branch = call.early
    call.tell(status, reason, event.sdp, branch, now)


def _complete_early(call: Call, event: Event, now: float) -> None:
    _answer_or_fail(call, call.a, event.sdp, CallSignal.PRACK_READY, now)


def _prack(call: Call, event: Event, now: float) -> None:
    if call.owed:
        call.far.asking.acknowledge(call.owed, event.sdp, now)
        call.owed, call.late = None, False


# --- answers on their way ---


def _take_answer(call: Call, event: Event, now: float) -> None:
    """The far leg's 2xx: its answer is acknowledged at once, its offer when the answer to that is there."""
    response, leg = event.message, event.leg
    if not isinstance(response, Response) or not leg:
        return
    call.stop_ringing()
    if call.state is CallState.ANSWERING:
        call.reach(leg)
        call.branches.won(leg, now)
        call.branch = branch_of(leg, response)
    settled = call.state is CallState.ANSWERING and leg.asking.settled(response.to.tag or "")
    early = call.branches.early.get(branch_of(leg, response), b"") if call.state is CallState.ANSWERING else b""
    sdp = _description(response) or (b"" if call.late else early)
    if not call.late and call.state is not CallState.EARLY_ANSWERING:
        leg.confirm(b"", now)
    if settled and (call.settled or not sdp):
        call.feed(CallSignal.MEDIA_READY, now, Event(sdp=call.near.said))
    elif not sdp:
        call.refused(488, "No Session Description", now)
    elif call.late:
        _ask_offer(call, leg, sdp, call.near, CallSignal.MEDIA_READY, now)
    else:
        _answer_or_fail(call, leg, early if settled else sdp, CallSignal.MEDIA_READY, now)


def _answer_or_fail(call: Call, leg: Leg, sdp: bytes, signal: CallSignal, now: float) -> None:
    try:
        _ask_answer(call, leg, sdp, signal, now)
    except ProtocolError as error:
        call.refused(error.status, error.reason, now)


def _answer(call: Call, event: Event, now: float) -> None:
    if call.house:
        attending.answer(call, event, now)
        return
    if call.state is CallState.CALLING:
        call.settled = True
        call.near.answer(event.sdp, now)
        return
    if call.lent_near:
        call.near.reinvite(event.sdp, now, PATIENCE)
        return
    updating = call.near.updating
    call.near.answer(event.sdp, now, call.branch)
    if updating:
        call.feed(CallSignal.ACKED, now)
    else:
        call.note_answer(now)


def _take_over(call: Call, event: Event, now: float) -> None:
    """The leg that was lent has agreed to its new peer: it is ours now."""
    sdp = _description(event.message) if event.message else b""
    call.near.confirm(b"", now)
    if sdp and sdp != call.near.heard:
        call.near.heard = sdp
        call.host.asks.settle(call, call.near, call.far, now)
    call.report(200, "OK", now)
    call.note_answer(now)


def _complete(call: Call, event: Event, now: float) -> None:
    _answer_or_fail(call, call.near, event.sdp, CallSignal.MEDIA_READY, now)


def _confirm(call: Call, event: Event, now: float) -> None:
    call.far.confirm(event.sdp, now)


# --- the end ---


def _save(call: Call, event: Event, now: float) -> None:
    call.touched()


def _finish(call: Call, event: Event, now: float) -> None:
    ending = event.ending
    if ending is None:
        return
    call.stop_ringing()
    settle(call)
    call.branches.hunt.stop()
    call.report(ending.status, ending.reason, now)
    refusal = (487, None) if call.answered else (ending.status, ending.reason or None)
    farewell = [] if ending.cause == NORMAL else [("Reason", f"Q.850;cause={ending.cause}")]
    loans, call.loans = call.loans, []
    for loan in loans:
        if loan.leg in call.legs:
            call.legs.remove(loan.leg)
        loan.give_back(now)
    for leg in tuple(call.legs):
        leg.end(refusal, farewell, now)
    _record(call, ending, now)
    call.first = None
    if call.over:
        call.host.forget(call)


def _record(call: Call, ending: Ending, now: float) -> None:
    effects = call.host.agent.effects
    if call.media:
        effects.append(CloseMedia(call.id))
    effects.append(
        CallEnded(
            call=call.id,
            caller=call.caller,
            dialled=call.dialled,
            a_call_id=call.a.call_id,
            b_call_id=call.b.call_id or None,
            started=call.started,
            ringing=call.ringing,
            answered=call.answered,
            ended=now,
            status=200 if call.answered is not None else ending.status,
            cause=ending.cause,
            ended_by=ending.by,
            reason=ending.reason,
            from_trunk=call.a.trunk,
            to_trunk=call.b.trunk or ending.trunk,
            service=call.service,
            waited=None if call.attended is None else (call.taken or now) - call.attended,
            joined=call.taken is not None,
            peer=call.peer,
        )
    )
    effects.append(ForgetCall(call.id))


def _description(message: Message) -> bytes:
    """The session description of a response; one that cannot be read is none."""
    try:
        return session_description(message)
    except ProtocolError:
        return b""


def _no_answer(leg: Leg, sdp: bytes) -> bool:
    """Whether an early description does not answer our offer; the final one will have to."""
    try:
        check_answer(leg.said, sdp)
    except ProtocolError:
        return True
    return False


ACTIONS: Mapping[CallDo, Callable[[Call, Event, float], None]] = {
    CallDo.NEXT_TARGET: _next_target,
    CallDo.NOTE: _note,
    CallDo.REDIRECT: _redirect,
    CallDo.OFFER: _offer,
    CallDo.INVITE: _invite,
    CallDo.REINVITE: _reinvite,
    CallDo.PROGRESS: _progress,
    CallDo.EARLY: _early,
    CallDo.COMPLETE_EARLY: _complete_early,
    CallDo.PRACK: _prack,
    CallDo.UPDATE: _update,
    CallDo.RESUME: _resume,
    CallDo.TAKE_ANSWER: _take_answer,
    CallDo.ANSWER: _answer,
    CallDo.TAKE_OVER: _take_over,
    CallDo.COMPLETE: _complete,
    CallDo.CONFIRM: _confirm,
    CallDo.GIVE_UP_FAR: _give_up_far,
    CallDo.WITHDRAW: _withdraw,
    CallDo.REFUSE_CHANGE: _refuse_change,
    CallDo.ATTEND: attending.attend,
    CallDo.WAIT: attending.wait,
    CallDo.LEAVE: attending.leave,
    CallDo.SAVE: _save,
    CallDo.FINISH: _finish,
}
