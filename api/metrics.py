# SPDX-License-Identifier: GPL-3.0-or-later
"""The platform's metrics, read when Prometheus asks and not before.

Totals cover the calls that are over as well as those that live, so that they never fall while we run. Labels are few
and bounded: no call, address or number is ever one. What belongs to one flow is for the command line and the CDR.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from prometheus_client import Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Labels = tuple[str, ...]
Series = Mapping[Labels, float]


@dataclass(frozen=True, slots=True)
class Figures:
    """What the controller knows at the moment of a scrape. Series are keyed by the label values named beside them.

    plane: "xdp" or "user". direction of RTP: "a" or "b", the leg that sent it; of SIP: "in" or "out".
    """

    version: str = ""
    rtp_packets: Series = field(default_factory=dict)
    """(plane, direction)"""
    rtp_bytes: Series = field(default_factory=dict)
    """(plane, direction), of UDP payload"""
    rtp_lost: Series = field(default_factory=dict)
    """(plane,)"""
    rtp_reordered: Series = field(default_factory=dict)
    """(plane,)"""
    rtp_duplicates: Series = field(default_factory=dict)
    """(plane,)"""
    rtp_flows: Series = field(default_factory=dict)
    """(plane,)"""
    rtp_stopped: float = 0
    rtp_digits: float = 0
    ice: Series = field(default_factory=dict)
    one_way_sessions: float = 0
    silent_sessions: float = 0
    ports_used: float = 0
    ports_free: float = 0
    xdp_drops: Series = field(default_factory=dict)
    """(reason,)"""
    xdp_fallbacks: Series = field(default_factory=dict)
    """(reason,)"""
    xdp_attached: Series = field(default_factory=dict)
    """(interface,)"""
    engine_drops: Series = field(default_factory=dict)
    """(reason,)"""
    xsk_packets: Series = field(default_factory=dict)
    """(interface, result): received, sent, dropped"""
    cpu_latency_held: float = 0
    """1: processors are kept from deep sleep."""
    sip_requests: Series = field(default_factory=dict)
    """(method, direction)"""
    sip_responses: Series = field(default_factory=dict)
    """(direction, code)"""
    sip_dropped: Series = field(default_factory=dict)
    """(reason,): rate, scanner, banned, amplification"""
    registrations: float = 0
    calls: float = 0
    calls_ended: Series = field(default_factory=dict)
    """(trunk, result, cause); trunk "" for local calls, result "answered" or "failed", cause of Q.850"""
    queue_waiting: Series = field(default_factory=dict)
    """(tenant, queue)"""
    queue_calls: Series = field(default_factory=dict)
    """(result,): entered, answered, abandoned, overflowed, called back"""
    webhooks: Series = field(default_factory=dict)
    """(result,): delivered, failed, given up, disabled"""
    cdrs_stored: float = 0
    cdrs_refused: float = 0
    cdr_journal_bytes: float = 0


class FiguresSource(Protocol):
    """Implemented by the controller."""

    def figures(self) -> Figures:
        """Return the figures as they are now; called in the event loop's thread, so it must be quick."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one field of Figures is shown."""

    field: str
    name: str
    help: str
    labels: Labels = ()
    counter: bool = True


KINDS = (
    _Kind("rtp_packets", "rtp_packets", "RTP and RTCP packets forwarded", ("plane", "direction")),
    _Kind("rtp_bytes", "rtp_bytes", "UDP payload forwarded, in bytes", ("plane", "direction")),
    _Kind("rtp_lost", "rtp_lost_packets", "Packets missing on arrival here", ("plane",)),
    _Kind("rtp_reordered", "rtp_reordered_packets", "Packets that arrived out of order", ("plane",)),
    _Kind("rtp_duplicates", "rtp_duplicate_packets", "Packets that arrived twice", ("plane",)),
    _Kind("rtp_flows", "rtp_flows", "Flows being forwarded", ("plane",), counter=False),
    _Kind("rtp_stopped", "rtp_stopped_directions", "Directions without a packet for five seconds, once each time"),
    _Kind("rtp_digits", "rtp_digits", "Digits dialled as telephone events"),
    _Kind("ice", "ice", "States that checks of ICE have come to", ("state",)),
    _Kind("one_way_sessions", "rtp_one_way_sessions", "Answered calls with media from one side only"),
    _Kind("silent_sessions", "rtp_silent_sessions", "Answered calls ended because their media had stopped"),
    _Kind("ports_used", "ports_used", "Relay ports in use or in quarantine", counter=False),
    _Kind("ports_free", "ports_free", "Relay ports that a call could have", counter=False),
    _Kind("xdp_drops", "xdp_drops", "Packets dropped by the kernel relay", ("reason",)),
    _Kind("xdp_fallbacks", "xdp_fallback", "Flows carried by the engine instead of the kernel", ("reason",)),
    _Kind("xdp_attached", "xdp_attached", "Whether the relay carries the interface", ("interface",), counter=False),
    _Kind("engine_drops", "engine_drops", "Packets dropped by the engine", ("reason",)),
    _Kind("xsk_packets", "engine_xsk_packets", "Packets of the engine by AF_XDP", ("interface", "result")),
    _Kind("cpu_latency_held", "engine_cpu_latency_held", "Whether processors are kept from deep sleep", counter=False),
    _Kind("sip_requests", "sip_requests", "SIP requests", ("method", "direction")),
    _Kind("sip_responses", "sip_responses", "SIP responses", ("direction", "code")),
    _Kind("sip_dropped", "sip_dropped", "SIP messages of strangers that were not listened to", ("reason",)),
    _Kind("registrations", "registrations", "Users with a registered contact", counter=False),
    _Kind("calls", "calls", "Calls in progress", counter=False),
    _Kind("calls_ended", "calls", "Calls that ended", ("trunk", "result", "cause")),
    _Kind("queue_waiting", "queue_waiting", "Calls that wait in a queue", ("tenant", "queue"), counter=False),
    _Kind("queue_calls", "queue_calls", "What became of calls in queues", ("result",)),
    _Kind("webhooks", "webhook_attempts", "What came of messages to webhooks", ("result",)),
    _Kind("cdrs_stored", "cdrs_stored", "Call records handed to PostgreSQL"),
    _Kind("cdrs_refused", "cdrs_refused", "Call records that could not be kept on disk"),
    _Kind("cdr_journal_bytes", "cdr_journal_bytes", "Call records on disk that PostgreSQL lacks", counter=False),
)


class PlatformCollector(Collector):
    """Reads the figures of `source` at each scrape."""

    def __init__(self, source: FiguresSource) -> None:
        self._source = source

    def describe(self) -> Iterable[Metric]:
        """Return the families without samples, so that registering does not read anything."""
        return [_family(kind) for kind in KINDS] + [_build_info(Figures())]

    def collect(self) -> Iterator[Metric]:
        """Yield every family with the samples of this moment."""
        figures = self._source.figures()
        for kind in KINDS:
            family = _family(kind)
            value = getattr(figures, kind.field)
            series: Series = value if kind.labels else {(): value}
            for labels, number in series.items():
                family.add_metric(labels, number)
            yield family
        yield _build_info(figures)


class CallHistograms:
    """Distributions that the controller observes as calls go on and end; each is a collector.

    MOS, jitter and round trip: one observation for each direction in each interval of five seconds, where measured.
    """

    def __init__(self) -> None:
        self.setup = _histogram(
            "call_setup_seconds", "From INVITE to ringing or answer", (0.05, 0.1, 0.2, 0.5, 1, 2, 3, 5, 10)
        )
        self.waited = _histogram(
            "queue_wait_seconds", "From entering a queue to leaving it", (1, 5, 10, 20, 30, 60, 120, 300, 600, 1800)
        )
        self.duration = _histogram(
            "call_duration_seconds", "From answer to end", (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600)
        )
        self.jitter = _histogram(
            "rtp_jitter_seconds", "Jitter of directions, by intervals", (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
        )
        self.round_trip = _histogram(
            "rtp_rtt_seconds",
            "Round trip from end to end, by intervals",
            (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1),
        )
        self.mos = _histogram("rtp_mos", "MOS of directions, by intervals", (1, 2, 2.5, 3, 3.5, 3.8, 4, 4.2, 4.4, 5))

    def collectors(self) -> list[Collector]:
        """Return what `create_app` takes."""
        return [self.setup, self.duration, self.waited, self.jitter, self.round_trip, self.mos]


def _family(kind: _Kind) -> CounterMetricFamily | GaugeMetricFamily:
    family = CounterMetricFamily if kind.counter else GaugeMetricFamily
    return family(f"voxdp_{kind.name}", f"{kind.help}.", labels=kind.labels)


def _build_info(figures: Figures) -> Metric:
    family = GaugeMetricFamily("voxdp_build_info", "The version that runs.", labels=("version",))
    family.add_metric((figures.version,), 1)
    return family


def _histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
    return Histogram(f"voxdp_{name}", f"{text}.", buckets=buckets, registry=None)
