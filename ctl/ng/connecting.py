# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets participants of different calls, or dialogues, hear each other: each as it was answered, without new offers.

One way it is as with subscribers: copies of what one sends go to the other, and nothing comes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ctl.ng.calls import Call, Calls, Dialogue, Participant, Subscription
from ctl.ng.errors import NgError
from ctl.ng.request import Request
from ctl.ng.subscriptions import check_room
from ctl.sessions.media_calls import FlowReport
from ctl.sessions.media_sessions import MediaRefused, MediaSessions

ONE_WAY = ("directional", "unidirectional")
SEVERAL = ("all", "from-tags")


Party = tuple[Dialogue, Participant]
"""A participant, in a dialogue of its that has been answered."""


@dataclass(frozen=True, slots=True)
class Connected:
    """Who was put together: the call that both are in now, the one that the other was in, and figures of flows."""

    call: Call
    left: Call
    reports: Sequence[FlowReport]


def connect(request: Request, calls: Calls, sessions: MediaSessions, now: float) -> Connected | None:
    """Put `from-tag` of `call-id` and `to-tag` of `to-call-id` together; None where they hear each other already.

    Those whom they have heard until now hear nothing any more, and are gone. With `directional` the latter hears the
    former alone, whose own conversation goes on. Raises NgError.
    """
    call = calls.get(request.required("call-id", "No call-id in message"))
    other = calls.get(request.text("to-call-id") or call.call_id)
    for word in SEVERAL:
        if request.has(word) or request.list(word) or request.values.get(word):
            raise NgError(f"{word}: two are connected at once on this relay, from-tag and to-tag")
    one = call.find(request.required("from-tag", "No from-tag in message"))
    two = other.find(request.required("to-tag", "No to-tag in message"))
    if one is None or two is None:
        raise NgError("From-tag given, but no such tag exists" if one is None else "To-tag not found")
    if any(dialogue.other(one) is two for dialogue in call.dialogues_of(one)):
        return None
    if other is not call and call.find(two.tag) is not None:
        raise NgError("to-tag: the call has another participant of that tag")
    first, second = _answered(call, one, sessions), _answered(other, two, sessions)
    way = _one_way if any(request.has(word) or request.text(word) is not None for word in ONE_WAY) else _both_ways
    try:
        reports = way(call, (first, one), (second, two), sessions, now)
    except MediaRefused as refused:
        raise NgError(refused.reason) from None
    other.dialogues.remove(second)
    for each in (call, other):
        _forget_alone(each)
    return Connected(call, other, reports)


def _both_ways(call: Call, first: Party, second: Party, sessions: MediaSessions, now: float) -> Sequence[FlowReport]:
    session, (here, one), (there, two) = call.next_session(), first, second
    reports = sessions.join(session, (here.session, here.leg_of(one)), (there.session, there.leg_of(two)), now)
    call.dialogues.remove(here)
    if two not in call.participants:
        call.participants.append(two)
    call.dialogues.append(Dialogue(session, one, two, transcoded=True))
    return reports


def _one_way(call: Call, first: Party, second: Party, sessions: MediaSessions, now: float) -> Sequence[FlowReport]:
    session, (here, one), (there, two) = call.next_session(), first, second
    if here is there:
        raise NgError("to-tag: hears from-tag already, or is the same")
    found = sessions.sources(here.session, here.leg_of(one))
    places = [(one, each.stream) for each in found]
    check_room(call, places)
    reports = sessions.overhear(session, found, (there.session, there.leg_of(two)), now)
    call.subscriptions.append(Subscription(session, two, places, transcoded=True))
    return reports


def _answered(call: Call, participant: Participant, sessions: MediaSessions) -> Dialogue:
    for dialogue in call.dialogues_of(participant):
        if not dialogue.published and sessions.sources(dialogue.session, dialogue.leg_of(participant)):
            return dialogue
    raise NgError("who is to be connected must be in a call that has been answered")


def _forget_alone(call: Call) -> None:
    there = [each for dialogue in call.dialogues for each in (dialogue.a, dialogue.b)]
    call.participants = [each for each in call.participants if each in there]
