# SPDX-License-Identifier: GPL-3.0-or-later
"""How what calls carry gets to the recorder: mirrored by the kernel or tapped in the engine, wherever a flow is.

Who records a call and who forwards its sound are fed by the same copies, which have the call's name.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID, uuid5

from ctl.kernel.flowrule import Endpoint, FlowFlag
from ctl.sessions.call_media import LEGS
from ctl.sessions.codecs import NAMES
from ctl.sessions.flow_plan import FlowPlan
from ctl.sessions.host_carriers import Carriers
from ctl.sessions.media_sessions import MediaSessions
from ctl.sessions.programmer import Programmer
from ctl.sessions.streams import Stream
from ctl.verbs.control import ControlError
from media.flows import EngineError
from media.recorder_client import RecorderClient
from media.recording_settings import LegCodecs
from media.stages import Tap
from sip.effects import Leg

NAMESPACE = UUID("4ea3a9a2-6f0c-4d4e-9d3b-6d1f0b9f5c11")
"""Of the names of copies, which are made of the calls'."""
_NOISE = 13


@dataclass(slots=True)
class Feed:
    """Copies of one call. users: who wants them. kernel, engine: the flows that are mirrored, by place in the table,
    and tapped.
    """

    users: set[UUID] = field(default_factory=set)
    kernel: dict[Endpoint, int] = field(default_factory=dict)
    engine: set[Endpoint] = field(default_factory=set)


class Feeds:
    """One per controller."""

    def __init__(self, programmer: Programmer, carriers: Carriers, client: RecorderClient) -> None:
        self._programmer = programmer
        self._carriers = carriers
        self._client = client
        self._feeds: dict[str, Feed] = {}

    @staticmethod
    def name(call: str) -> UUID:
        """Return the name of a call's copies."""
        return uuid5(NAMESPACE, call)

    def follow(self, call: str, user: UUID) -> None:
        """Copy each flow of a call, wherever it is now, for a recording that is made from it. Raises EngineError."""
        feed = self._feeds.setdefault(call, Feed())
        feed.users.add(user)
        plans = [plan for plan in self._programmer.rtp_of(call) if plan.stream == 0]
        kernel = {plan.local: plan for plan in plans if plan.path == "kernel"}
        for local in feed.kernel.keys() - kernel.keys():
            self._client.forget(feed.kernel.pop(local))
        for local, plan in kernel.items():
            if self._carriers.kernel and local not in feed.kernel:
                index = self._carriers.kernel.mark(local, FlowFlag.MIRROR)
                self._client.source(user, index, _number(plan))
                feed.kernel[local] = index
        for plan in plans:
            if plan.path == "engine":
                self._carriers.engine.tap(plan, Tap(self.name(call), _number(plan), self._client.taps))
                feed.engine.add(plan.local)

    def leave(self, call: str, user: UUID) -> None:
        """Copy no more for a recording, and nothing at all where it was the last of its call."""
        feed = self._feeds.get(call, Feed())
        feed.users.discard(user)
        if feed.users:
            return
        self._feeds.pop(call, None)
        for local in feed.kernel:
            if self._carriers.kernel and self._programmer.flow_at(local):
                self._carriers.kernel.unmark(local, FlowFlag.MIRROR)
        for plan in self._programmer.rtp_of(call):
            if plan.path == "engine" and plan.local in feed.engine:
                with suppress(EngineError):  # one that is gone copies nothing, and the next one is not asked to
                    self._carriers.engine.tap(plan, None)


def legs_of(sessions: MediaSessions, call: str) -> tuple[LegCodecs, LegCodecs]:
    """Return what each leg of a call may send."""
    described = sessions.described(call)
    first, second = (next(iter(described.get(leg, ())), None) for leg in ("a", "b"))
    return _leg(first, second), _leg(second, first)


def check_heard(sessions: MediaSessions, call: str, legs: Collection[Leg] = LEGS) -> None:
    """Raise ControlError where what legs say passes sealed by keys that the parties share: copies would be noise."""
    if any(each.key for leg in legs for each in sessions.sources(call, leg)):
        raise ControlError("SRTP passes with the parties' own keys: the relay does not hear it")


def _number(plan: FlowPlan) -> int:
    return 0 if plan.leg == "a" else 1


def _leg(sender: Stream | None, receiver: Stream | None) -> LegCodecs:
    """What a leg may send: the payload types that the other leg named, and its own where they are no others'."""
    both = [stream for stream in (receiver, sender) if stream]
    codecs: dict[int, str] = {}
    for stream in both:
        for codec in stream.codecs:
            if codec.name.lower() in NAMES:
                codecs.setdefault(codec.payload_type, NAMES[codec.name.lower()])
    events = next((number for each in both if (number := _events(each)) is not None), None)
    noise = next((_NOISE for stream in both for codec in stream.codecs if codec.payload_type == _NOISE), None)
    return LegCodecs(codecs, events, noise)


def _events(stream: Stream) -> int | None:
    """Payload type of telephone events beside what a leg speaks first."""
    return stream.event_type(stream.codecs[0].clock_rate if stream.codecs else 0)
