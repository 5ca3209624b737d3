# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks after the media of live calls: what the kernel reports, and every five seconds how each direction fares.

Work is done per RTCP report, per event and per interval, never per packet. The calls are looked at in turns, a fifth
of them each second, so that no look is long; each turn is one line in a journal of its own, by which a controller
that was killed goes on with the figures of its calls, but for their last seconds.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from zlib import crc32

import structlog

from ctl.journal import Journal, Recovered
from ctl.kernel.events import Dtmf, Event, Learned, Rejected, Rtcp, SsrcChanged
from ctl.kernel.flowrule import Endpoint
from ctl.observe.quality import Interval
from ctl.observe.rtcp import parse
from ctl.sessions.flow_plan import FlowPlan
from ctl.sessions.programmer import Programmer
from media.flows import EngineError, EngineEvent
from media.stages import DigitHeard, read_news
from sip.effects import Leg, Pressed

TURNS = 5
"""Seconds from one look at a call to the next, for there is one turn a second."""

SAVED_EVERY = 3
"""So many looks at the same calls make one line in the journal; where there are others than at the last, each does."""

IDLE_SECONDS = 5.0
STRANGER_SECONDS = 60.0
QUALITY = "quality"
DIGITS = "0123456789*#ABCD"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Stopped:
    """A direction that had media has none any more; seconds: since when."""

    call: str
    stream: int
    leg: Leg
    seconds: float


@dataclass(frozen=True, slots=True)
class Digit:
    """A leg has dialled a digit, 0-9 * # A-D, as an event or a tone, or by INFO (informed).

    milliseconds: how long, None: unknown.
    """

    call: str
    stream: int
    leg: Leg
    digit: str
    milliseconds: float | None
    informed: bool = field(default=False, compare=False)


MediaEvent = Stopped | Digit
Listener = Callable[[MediaEvent], None]


@dataclass(slots=True)
class Strangers:
    """Who sends to flows that are not theirs: the first of each flow is told, then one line a minute and flow."""

    _seen: dict[Endpoint, tuple[float, int]] = field(default_factory=dict)

    def to_tell(self, local: Endpoint, now: float) -> int | None:
        """Return how often it happened since it was told, if it is to be told now."""
        told, since = self._seen.get(local, (-STRANGER_SECONDS, 0))
        if now - told < STRANGER_SECONDS:
            self._seen[local] = told, since + 1
            return None
        self._seen[local] = now, 0
        return since + 1

    def forget(self, now: float) -> None:
        """Drop those that were told long ago."""
        for local in [local for local, (told, _) in self._seen.items() if now - told > 2 * STRANGER_SECONDS]:
            del self._seen[local]


class MediaWatch:
    """One per controller. `now` is seconds of CLOCK_MONOTONIC, by which packets and events are stamped too."""

    def __init__(self, programmer: Programmer, journal: Journal, observe: Callable[[Interval], None]) -> None:
        self._programmer = programmer
        self._quality = programmer.quality
        self._journal = journal
        self._observe = observe
        self._listeners: list[Listener] = []
        self._strangers = Strangers()
        self._turn = 0
        self._looks = 0
        self._saved: dict[int, frozenset[str]] = {}

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` with everything that happens to media."""
        self._listeners.append(listener)

    def restore(self, recovered: Recovered) -> None:
        """Go on from an earlier process's figures of the calls that live; of an earlier boot there are none."""
        if recovered.same_boot:
            for state in recovered.of(QUALITY).values():
                self._quality.restore(state)
        for call in list(self._quality.calls() - self._programmer.calls()):
            self._quality.forget(call)

    def look(self, now: float) -> None:
        """Judge a fifth of the calls; to be called every second."""
        self._looks += 1
        self._turn = self._looks % TURNS
        calls = [call for call in self._programmer.calls() if crc32(call.encode()) % TURNS == self._turn]
        try:
            samples = self._programmer.samples(calls)
        except EngineError as error:
            log.warning("quality not looked at", why=str(error))
            return
        for call, plan, sample in samples:
            if plan.held:
                continue
            interval = self._quality.look(call, plan.stream, plan.leg, sample, now)
            if interval:
                self._observe(interval)
            self._note_silence(call, plan, now - sample.last_seen if sample.last_seen else 0.0)
        self._save(calls)
        self._strangers.forget(now)

    def events(self, events: Iterable[tuple[Event, Endpoint]]) -> None:
        """Take in what the kernel has reported, each with the relay address and port of its flow."""
        for event, local in events:
            match event:
                case Rtcp():
                    self._rtcp(event.payload, local, event.time)
                case Learned():
                    log.info("source learned", flow=_name(local), source=_name(event.source))
                case Rejected():
                    self._rejected(event, local)
                case Dtmf():
                    self._dtmf(event, local)
                case SsrcChanged():
                    log.info("another SSRC", flow=_name(local), ssrc=event.ssrc)

    def reported(self, event: EngineEvent) -> None:
        """Take in RTCP that the engine has carried, or that it sent in a leg's stead."""
        self._rtcp(event.data, event.flow, event.time)

    def _rtcp(self, compound: bytes, local: Endpoint, at: float) -> None:
        """A report tells of what its sender receives, which is what the other leg sends.

        Where that is transcoded it is what we send, by the clock of the codec that the report's sender has itself.
        """
        owner = self._programmer.flow_at(local)
        if owner is None:
            return
        call, plan = owner
        both = {each.leg: each for each in self._programmer.rtp_of(call) if each.stream == plan.stream}
        received = next((each for leg, each in both.items() if leg != plan.leg), None)
        if received is None:
            return
        ours = received.transcoding is not None
        clock_rate = both[plan.leg].clock_rate if ours and plan.leg in both else received.clock_rate
        for report in parse(compound):
            self._quality.report(call, plan.stream, plan.leg, report, clock_rate, at, whole=not ours)

    def _dtmf(self, event: Dtmf, local: Endpoint) -> None:
        """The digit itself is told to who listens and shown on demand, but not logged: it may be of a PIN."""
        owner = self._programmer.flow_at(local)
        if owner is None or event.event >= len(DIGITS):
            return
        call, plan = owner
        digit = DIGITS[event.event]
        self._quality.digit(call, plan.stream, plan.leg, digit)
        clock = plan.dtmf_clock or plan.clock_rate
        length = 1000 * event.duration / clock if clock else None
        self._publish(Digit(call, plan.stream, plan.leg, digit, length))

    def staged(self, event: EngineEvent) -> None:
        """Take in what a stage of the engine tells: a digit, as event or tone, of a call that is transcoded."""
        owner = self._programmer.flow_at(event.flow)
        try:
            news = read_news(event.data)
        except (struct.error, IndexError):
            return  # of an engine of another version
        if owner is None or not isinstance(news, DigitHeard):
            return
        call, plan = owner
        self._quality.digit(call, plan.stream, plan.leg, news.digit)
        self._publish(Digit(call, plan.stream, plan.leg, news.digit, news.duration))

    def told(self, effect: object) -> None:
        """Take in what signalling tells of calls: a key that came by INFO is a digit like any other."""
        if isinstance(effect, Pressed):
            if self._programmer.rtp_of(effect.call):
                self._quality.digit(effect.call, 0, effect.leg, effect.digit)
            self._publish(Digit(effect.call, 0, effect.leg, effect.digit, effect.milliseconds, informed=True))

    def _rejected(self, event: Rejected, local: Endpoint) -> None:
        times = self._strangers.to_tell(local, event.time)
        if times:
            log.warning("stranger's packets dropped", flow=_name(local), source=_name(event.source), events=times)

    def _note_silence(self, call: str, plan: FlowPlan, seconds: float) -> None:
        if self._quality.idle(call, plan.stream, plan.leg, seconds > IDLE_SECONDS):
            log.debug("media stopped", call=call, flow=_name(plan.local), leg=plan.leg, seconds=round(seconds, 1))
            self._publish(Stopped(call, plan.stream, plan.leg, seconds))

    def _publish(self, event: MediaEvent) -> None:
        for listener in self._listeners:
            listener(event)

    def _save(self, calls: Collection[str]) -> None:
        named = frozenset(calls)
        if self._saved.get(self._turn) == named and (self._looks // TURNS + self._turn) % SAVED_EVERY:
            return
        self._saved[self._turn] = named
        state = self._quality.to_json(calls)
        try:
            if state:
                self._journal.put(QUALITY, str(self._turn), state)
            else:
                self._journal.remove(QUALITY, str(self._turn))
        except OSError as error:
            log.error("quality not saved; free space on its disk", error=error.strerror)


def _name(endpoint: Endpoint) -> str:
    return f"{endpoint[0]}:{endpoint[1]}"
