# SPDX-License-Identifier: GPL-3.0-or-later
"""How each direction of each call fares: loss, jitter, round trip and MOS, by intervals and over the whole call.

Pure. All of it comes from two places: counters that are looked at every few seconds, and the reports that both ends
send each other by RTCP, with the moment at which they passed here. Nothing is assumed: what was not measured is None.

The relay sits between the ends, so it sees half of each way. From an SR that passed on its way to a leg until that
leg's report on it comes by, less the delay that the report names, is the round trip between us and that leg
(RFC 3550 section 6.4.1); both legs' together are the round trip of the call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, NamedTuple

from ctl.observe.emodel import mos, mouth_to_ear
from ctl.observe.rtcp import Report, ReportBlock
from sip.effects import Leg
from sip.facts import fact

REPORTS_KEPT = 8
"""Sender reports whose answer may still come; they are sent every five seconds."""

ROUND_TRIP_LIMIT = 10.0
"""Seconds. What is longer, or shorter than nothing, is a clock that was set or a lie."""

FEWEST_PACKETS = 10
"""Of an interval; from less nothing is concluded."""

SHORTEST = 2.0
"""Seconds, of the interval that the end of a call cuts off."""

COURSE = 16
"""Points of a call's course, at most."""

FRESH = 12.0
"""Seconds for which a report of the far end counts; two of the usual intervals."""

Way = tuple[int, Leg]
"""The m-line, and the leg that sends this direction of it."""


class Sample(NamedTuple):
    """The counters of a direction at one moment; a tuple, as thousands of them are made each second.

    jitter_ms: None without a known clock. last_seen: seconds of CLOCK_MONOTONIC, 0: no packet yet. codec: the one
    last seen.
    """

    packets: int
    lost: int
    jitter_ms: float | None
    last_seen: float
    codec: str


class Point(NamedTuple):
    """How a direction fared in one interval that ended `at` seconds of CLOCK_MONOTONIC.

    loss: 0 to 1. round_trip, leg_round_trip: seconds, 0 where they were not measured.
    """

    at: float
    mos: float
    loss: float
    jitter_ms: float
    round_trip: float
    leg_round_trip: float


@dataclass(slots=True)
class Direction:
    """What is known of the media that one leg sends.

    The first block is of the last interval: shares are 0 to 1. far_*: what the other leg says of the whole way to it,
    or unless far_whole of that from us, who send a stream of our own then; far_at: when. leg_round_trip: seconds
    between us and the leg that sends. digits: the last that it dialled. The next block is of the whole call, the last
    one what the counters were when they were looked at.
    """

    mos: float | None = None
    loss: float | None = None
    jitter_ms: float | None = None
    packets_per_second: float | None = None
    far_loss: float | None = None
    far_jitter_ms: float | None = None
    far_at: float = 0.0
    far_whole: bool = True
    leg_round_trip: float | None = None
    digits: str = ""

    mos_min: float | None = None
    mos_sum: float = 0.0
    intervals: int = 0
    worst: Point | None = None
    best: Point | None = None
    loss_sum: float = 0.0
    jitter_sum: float = 0.0
    jitter_max_ms: float | None = None
    round_trip_sum: float = 0.0
    round_trips: int = 0

    packets: int = 0
    lost: int = 0
    looked_at: float = 0.0
    idle: bool = False
    reports: dict[int, float] = field(default_factory=dict)
    """When the last sender reports of this leg passed, by their time."""
    course: list[Point] = field(default_factory=list)
    """From the beginning, or since the controller was started, every `stride`th interval."""
    stride: int = 1

    @property
    def mos_avg(self) -> float | None:
        """Mean over the intervals that were measured."""
        return self.mos_sum / self.intervals if self.intervals else None

    @property
    def round_trip_avg(self) -> float | None:
        """Seconds between us and the leg that sends, mean over its reports."""
        return self.round_trip_sum / self.round_trips if self.round_trips else None


KEPT = [each.name for each in fields(Direction) if each.name not in ("reports", "course", "stride")]
kept = attrgetter(*KEPT)


@fact
class Interval:
    """What an interval of one direction has shown, for histograms. round_trip: of the call, seconds."""

    mos: float | None
    loss: float
    jitter_ms: float | None
    round_trip: float | None


class Quality:
    """Of every call. `now` and `at` are seconds of CLOCK_MONOTONIC."""

    def __init__(self) -> None:
        self._calls: dict[str, dict[Way, Direction]] = {}

    def of(self, call: str, stream: int, leg: Leg) -> Direction | None:
        """Return what is known of a direction, if anything."""
        return self._calls.get(call, NOTHING).get((stream, leg))

    def round_trip(self, call: str, stream: int) -> float | None:
        """Return the round trip from end to end in seconds, as of the last reports of both."""
        return _round_trip(self._both(call, stream))

    def round_trip_avg(self, call: str, stream: int) -> float | None:
        """Return the mean round trip from end to end in seconds."""
        if call not in self._calls:
            return None
        return _sum_of_both([each.round_trip_avg if each else None for each in self._both(call, stream)])

    def look(self, call: str, stream: int, leg: Leg, sample: Sample, now: float) -> Interval | None:
        """End an interval of a direction with its counters; None for one with hardly a packet.

        The first interval begins with the flow. Counters that have fallen are those of another carrier, and the
        interval begins with them.
        """
        here = self._direction(call, stream, leg)
        if sample.packets < here.packets:
            here.packets = here.lost = 0
        received, missed = sample.packets - here.packets, max(0, sample.lost - here.lost)
        seconds = now - here.looked_at if here.looked_at else 0.0
        here.packets, here.lost, here.looked_at = sample.packets, sample.lost, now
        here.packets_per_second = received / seconds if seconds > 0 else None
        if received < FEWEST_PACKETS:
            here.mos = here.loss = here.jitter_ms = None
            return None
        here.loss = missed / (received + missed)
        here.jitter_ms = sample.jitter_ms
        if sample.jitter_ms is not None:
            here.jitter_max_ms = max(here.jitter_max_ms or 0.0, sample.jitter_ms)
        both = self._both(call, stream)
        self._judge(here, both, sample.codec, now)
        return Interval(here.mos, here.loss, here.jitter_ms, _round_trip(both))

    def finish(self, call: str, stream: int, leg: Leg, sample: Sample) -> None:
        """Look at a direction for the last time here, if that makes an interval of some length.

        Where it goes on, by another carrier, it is counted from zero.
        """
        here = self._direction(call, stream, leg)
        if sample.last_seen - here.looked_at > SHORTEST:
            self.look(call, stream, leg, sample, sample.last_seen)
        here.packets = here.lost = 0

    def idle(self, call: str, stream: int, leg: Leg, silent: bool) -> bool:
        """Whether the direction has become `silent` since it was last asked."""
        here = self._direction(call, stream, leg)
        was, here.idle = here.idle, silent
        return silent and not was

    def report(
        self, call: str, stream: int, leg: Leg, report: Report, clock_rate: int, at: float, whole: bool = True
    ) -> None:
        """Take in a report that `leg` sent. clock_rate: Hz, of what the leg receives; 0: unknown.

        whole: the leg receives what the other one sends, and not a stream of ours in its place.
        """
        here = self._direction(call, stream, leg)
        if report.time is not None:
            here.reports[report.time] = at
            while len(here.reports) > REPORTS_KEPT:
                del here.reports[next(iter(here.reports))]
        other = self._direction(call, stream, "b" if leg == "a" else "a")
        for block in report.blocks[:1]:  # one source in each direction; a further one is of an SSRC that was left
            other.far_loss, other.far_at, other.far_whole = block.fraction_lost, at, whole
            other.far_jitter_ms = 1000 * block.jitter / clock_rate if clock_rate else None
            _measure(here, other.reports, block, at)

    def digit(self, call: str, stream: int, leg: Leg, digit: str, most: int = 32) -> None:
        """Remember a digit that `leg` dialled."""
        here = self._direction(call, stream, leg)
        here.digits = (here.digits + digit)[-most:]

    def calls(self) -> Set[str]:
        """Return the calls of which anything is known."""
        return self._calls.keys()

    def forget(self, call: str) -> None:
        """Drop what is known of a call."""
        self._calls.pop(call, None)

    def to_json(self, calls: Iterable[str]) -> list[list[Any]]:
        """Return what `restore` needs of these calls, in values that JSON can carry."""
        return [[call, *way, kept(each)] for call in calls for way, each in self._calls.get(call, NOTHING).items()]

    def restore(self, state: Iterable[Any]) -> None:
        """Go on from what `to_json` returned; other versions' and torn values are left out."""
        for entry in state:
            try:
                call, stream, leg, values = entry
                known = dict(zip(KEPT, values, strict=True))
                for name in ("worst", "best"):
                    known[name] = known[name] and Point(*known[name])
                self._calls.setdefault(call, {})[stream, leg] = Direction(**known)
            except (TypeError, ValueError):
                continue

    def _direction(self, call: str, stream: int, leg: Leg) -> Direction:
        known = self._calls.setdefault(call, {})
        here = known.get((stream, leg))
        if here is None:
            here = known[stream, leg] = Direction()
        return here

    def _both(self, call: str, stream: int) -> list[Direction | None]:
        known = self._calls.get(call, NOTHING)
        return [known.get((stream, leg)) for leg in LEGS]

    def _judge(self, here: Direction, both: Iterable[Direction | None], codec: str, now: float) -> None:
        """The way from the sender to us is in our counters, the whole way in the far end's report: the worse counts.

        Where that report is of the second half alone, both halves together do.
        """
        loss, jitter = here.loss or 0.0, here.jitter_ms or 0.0
        if now - here.far_at < FRESH and here.far_loss is not None:
            further = here.far_jitter_ms or 0.0
            if here.far_whole:
                loss, jitter = max(loss, here.far_loss), max(jitter, further)
            else:
                loss, jitter = 1 - (1 - loss) * (1 - here.far_loss), jitter + further
        round_trip = sum(each.leg_round_trip or 0.0 for each in both if each)
        here.mos = mos(codec, loss, mouth_to_ear(codec, 1000 * round_trip, jitter))
        if here.mos is not None:
            here.mos_min = min(here.mos, 5.0 if here.mos_min is None else here.mos_min)
            here.mos_sum += here.mos
            here.loss_sum += loss
            here.jitter_sum += jitter
            _note(here, Point(now, here.mos, loss, jitter, round_trip, here.leg_round_trip or 0.0))
            here.intervals += 1


LEGS: tuple[Leg, Leg] = ("a", "b")
NOTHING: Mapping[Way, Direction] = {}


def _note(here: Direction, point: Point) -> None:
    """Keep the best, the worst, and so many of all that they show the course of the call."""
    if here.worst is None or point.mos < here.worst.mos:
        here.worst = point
    if here.best is None or point.mos > here.best.mos:
        here.best = point
    if here.intervals % here.stride:
        return
    here.course.append(point)
    if len(here.course) > COURSE:
        del here.course[1::2]
        here.stride *= 2


def _round_trip(both: Iterable[Direction | None]) -> float | None:
    return _sum_of_both([each.leg_round_trip if each else None for each in both])


def _sum_of_both(seconds: Sequence[float | None]) -> float | None:
    known = [each for each in seconds if each is not None]
    return sum(known) if len(known) == len(LEGS) else None


def _measure(here: Direction, sent: Mapping[int, float], block: ReportBlock, at: float) -> None:
    """The block's leg has had a sender report that passed here on its way."""
    passed = sent.get(block.last_report) if block.last_report else None
    if passed is None:
        return
    round_trip = at - passed - block.delay
    if -1e-3 <= round_trip <= ROUND_TRIP_LIMIT:
        here.leg_round_trip = max(0.0, round_trip)
        here.round_trip_sum += here.leg_round_trip
        here.round_trips += 1
