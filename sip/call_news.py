# SPDX-License-Identifier: GPL-3.0-or-later
"""What the legs of a call tell, as signals of the call: most news of one leg is for the other, some ends them both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sip.bodies import described, session_description
from sip.call_event import Event
from sip.call_table import CallSignal, CallState
from sip.causes import NORMAL, RECOVERY_ON_TIMER, cause_in, cause_of
from sip.hunt import Ending
from sip.leg_table import LegSignal
from sip.message import Request, Response

if TYPE_CHECKING:
    from sip.call import Call
    from sip.leg import Leg


def told(call: Call, leg: Leg, signal: LegSignal, message: Request | Response | None, now: float) -> None:
    """Turn a leg's news into the call's."""
    event = Event(message, leg=leg)
    match signal:
        case LegSignal.PROVISIONAL if isinstance(message, Response):
            call.signed(now)
            if message.status > 100:
                call.feed(CallSignal.PROGRESS, now, event)
        case LegSignal.ACCEPT:
            call.feed(CallSignal.ACCEPTED, now, event)
        case LegSignal.REJECT:
            _rejected(call, leg, message, now)
        case LegSignal.UPDATED:
            accepted = isinstance(message, Response) and message.status < 300
            call.feed(CallSignal.UPDATED if accepted else CallSignal.UPDATE_FAILED, now, event)
        case LegSignal.ACK:
            _acked(call, message, now)
        case LegSignal.BYE | LegSignal.NO_ACK | LegSignal.NO_PRACK | LegSignal.EXPIRED:
            _torn(call, leg, signal, message, now)


def follow(call: Call, now: float, leg: Leg | None = None, message: Request | Response | None = None) -> bool:
    """Go where one of those pointed who were called, as nobody else answers, this leg neither; whether one did."""
    if call.state is not CallState.CALLING or call.branches.redirection is None:
        return False
    who, where = call.branches.redirection
    if leg:
        call.branches.failed(leg, message, now)
    call.branches.give_up((), now)
    return call.feed(CallSignal.REDIRECTED, now, Event(where, leg=who))


def _rejected(call: Call, leg: Leg, message: Request | Response | None, now: float) -> None:
    status = message.status if isinstance(message, Response) else 408
    lost = Ending(status, RECOVERY_ON_TIMER if status == 408 else cause_of(status), leg.name)
    event = Event(message, ending=lost, leg=leg)
    if status in (408, 481) and call.feed(CallSignal.LOST, now, event):
        return
    if call.state is CallState.CALLING:
        call.branches.note_redirection(leg, message)
    if not call.branches.decides(leg, message):
        call.feed(CallSignal.BRANCH_FAILED, now, event)
    elif status >= 600 or not follow(call, now, leg, message):
        call.feed(CallSignal.FAILED, now, event)


def _acked(call: Call, message: Request | Response | None, now: float) -> None:
    if not call.late:
        call.feed(CallSignal.ACKED, now)
    elif message and described(message):
        call.feed(CallSignal.ACK_ANSWER, now, Event(sdp=session_description(message)))
    else:
        ending = Ending(488, cause_of(488), call.near.name, "No Answer In ACK")
        call.feed(CallSignal.ACK_EMPTY, now, Event(ending=ending))


def _torn(call: Call, leg: Leg, signal: LegSignal, message: Request | Response | None, now: float) -> None:
    match signal:
        case LegSignal.BYE:
            call.feed(CallSignal.BYE, now, Event(ending=Ending(480, cause_in(message, NORMAL), leg.name)))
        case LegSignal.EXPIRED:
            call.hang_up(RECOVERY_ON_TIMER, "Session Expired", now)
        case LegSignal.NO_PRACK:
            ending = Ending(504, RECOVERY_ON_TIMER, "server", "No PRACK")
            call.feed(CallSignal.NO_PRACK, now, Event(ending=ending))
        case _:
            call.feed(CallSignal.NO_ACK, now, Event(ending=Ending(408, RECOVERY_ON_TIMER, "server", "No ACK")))
