# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets participants of different calls, or dialogues, hear each other: each as it was answered, without new offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ctl.ng.calls import Call, Calls, Dialogue, Participant
from ctl.ng.errors import NgError
from ctl.ng.request import Request
from ctl.sessions.media_sessions import FlowReport, MediaRefused, MediaSessions

ONE_WAY = ("directional", "unidirectional", "all")


@dataclass(frozen=True, slots=True)
class Connected:
    """Who was put together: the call that both are in now, the one that the other was in, and figures of flows."""

    call: Call
    left: Call
    reports: Sequence[FlowReport]


def connect(request: Request, calls: Calls, sessions: MediaSessions, now: float) -> Connected | None:
    """Put `from-tag` of `call-id` and `to-tag` of `to-call-id` together; None where they hear each other already.

    Those whom they have heard until now hear nothing any more, and are gone. Raises NgError.
    """
    call = calls.get(request.required("call-id", "No call-id in message"))
    other = calls.get(request.text("to-call-id") or call.call_id)
    for word in ONE_WAY:
        if request.has(word) or request.text(word) is not None:
            raise NgError(f"{word}: both hear each other on this relay; one way there is: subscribe request")
    one = call.find(request.required("from-tag", "No from-tag in message"))
    two = other.find(request.required("to-tag", "No to-tag in message"))
    if one is None or two is None:
        raise NgError("From-tag given, but no such tag exists" if one is None else "To-tag not found")
    if any(dialogue.other(one) is two for dialogue in call.dialogues_of(one)):
        return None
    if other is not call and call.find(two.tag) is not None:
        raise NgError("to-tag: the call has another participant of that tag")
    first, second = _answered(call, one, sessions), _answered(other, two, sessions)
    session = call.next_session()
    ends = (first.session, first.leg_of(one)), (second.session, second.leg_of(two))
    try:
        reports = sessions.join(session, *ends, now)
    except MediaRefused as refused:
        raise NgError(refused.reason) from None
    call.dialogues.remove(first)
    other.dialogues.remove(second)
    if other is not call:
        call.participants.append(two)
    call.dialogues.append(Dialogue(session, one, two, transcoded=True))
    for each in (call, other):
        _forget_alone(each)
    return Connected(call, other, reports)


def _answered(call: Call, participant: Participant, sessions: MediaSessions) -> Dialogue:
    for dialogue in call.dialogues_of(participant):
        if not dialogue.published and sessions.sources(dialogue.session, dialogue.leg_of(participant)):
            return dialogue
    raise NgError("who is to be connected must be in a call that has been answered")


def _forget_alone(call: Call) -> None:
    there = [each for dialogue in call.dialogues for each in (dialogue.a, dialogue.b)]
    call.participants = [each for each in call.participants if each in there]
