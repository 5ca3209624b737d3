# SPDX-License-Identifier: GPL-3.0-or-later
"""What a call does while we ourselves are the caller's peer, in a queue: it hears us until somebody takes the call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sip.bodies import session_description
from sip.call_event import Event
from sip.call_table import CallSignal, CallState
from sip.effects import Joined, RevertMedia, Unreached, Waiting
from sip.errors import ProtocolError
from sip.inviting import PATIENCE
from sip.leg import Leg
from sip.leg_table import LegState
from sip.message import Request
from sip.offer_answer import check_offer, fresh_offer, narrowed, same_media

if TYPE_CHECKING:
    from sip.call import Call

REMIND = "remind"
_MINUTE = 60.0


def attend(call: Call, event: Event, now: float) -> None:
    """Ask media to be the peer of the near leg, whose offer or INVITE without one is pending."""
    if event.service:
        call.service, call.early_only = event.service, event.early
    call.house = call.media = call.offered = True
    near, request = call.near, call.near.asked.request
    try:
        sdp = session_description(request) if request and not call.late else b""
        check_offer(sdp or near.said, near.said, near.heard)
    except ProtocolError as error:
        call.refused(error.status, error.reason, now)
        return
    near.heard = sdp or near.heard
    call.host.asks.attend(call, near, sdp, now)


def offer(call: Call) -> bytes:
    """The media of one who waits, for somebody who is to take the call: first as we have agreed on it, then all of it.

    So the caller need not hear of its new peer unless that peer wants something else. Raises SdpError.
    """
    heard, said = call.near.heard, call.near.said
    narrow = call.branches.hunt.attempt < call.branches.hunt.shapes
    return narrowed(heard, said) if narrow else fresh_offer(heard)


def answer(call: Call, event: Event, now: float) -> None:
    """Media is ready: for us towards the near leg, or for the two who talk from now on."""
    if call.originating:
        call.originating = False
        call.near, call.far = call.a, call.b
        call.note_answer(now)
        call.feed(CallSignal.WAITED, now)
    elif call.state is CallState.ATTENDED:
        _speak(call, event.sdp, now)
    else:
        _join(call, event.sdp, now)


def _speak(call: Call, sdp: bytes, now: float) -> None:
    near = call.near
    if call.early_only and near.dialog is None:
        near.alert(183, None, sdp, now)
        _remind_later(call, now)
        call.feed(CallSignal.WAITED, now)
        return
    updating = near.updating
    near.answer(sdp, now)
    call.note_answer(now)
    if updating:
        call.feed(CallSignal.WAITED, now)


def remind(call: Call, now: float) -> None:
    """Let the caller, and proxies on the way, know that its INVITE is still pending (RFC 3261 §13.3.1.1)."""
    if call.near.pending and not call.answered:
        call.near.alert(183, None, b"", now)
        _remind_later(call, now)


def _remind_later(call: Call, now: float) -> None:
    call.host.agent.timers.start(call, REMIND, now + _MINUTE)


def _join(call: Call, sdp: bytes, now: float) -> None:
    near = call.near
    call.house, call.taken, call.peer = False, now, call.sought
    call.host.agent.effects.append(Joined(call.id, call.peer))
    call.report(200, "OK", now)
    if near.pending:
        near.answer(sdp, now)
        call.note_answer(now)
    elif same_media(sdp, near.said):
        call.feed(CallSignal.JOINED, now)
    else:
        near.reinvite(sdp, now, PATIENCE)


def wait(call: Call, event: Event, now: float) -> None:
    """Tell, once for each service, that the caller hears us."""
    call.near, call.far = call.a, call.b
    call.late = False
    if call.attended is None:
        call.attended = now
    if call.announced != call.service:
        call.announced = call.service
        call.host.agent.effects.append(Waiting(call.id, call.service, call.caller, call.payer_trunk))


def leave(call: Call, event: Event, now: float) -> None:
    """Drop those who were sought: the caller hears us again, or still."""
    call.stop_ringing()
    call.turn += 1
    call.branches.give_up((), now)
    call.branches.hunt.stop()
    if call.far in call.legs and call.far is not call.a:
        call.far.end((480, None), (), now)
    effects = call.host.agent.effects
    if call.b.call_id:
        call.b = Leg("b", call.host.agent, call, LegState.GONE)
        effects.append(RevertMedia(call.id))
    call.near, call.far = call.a, call.b
    if event.service:
        call.service = event.service
    if event.ending:
        ending = event.ending
        call.report(ending.status, ending.reason, now)
        effects.append(Unreached(call.id, ending.status, ending.cause, ending.reason))


def plain_request(call: Call) -> Request:
    """What an INVITE of ours is made after, where no request of a caller asks for it."""
    return Request("INVITE", f"sip:{call.host.agent.settings.host}", [], b"")
