# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller counts and knows, as figures for a scrape: totals of ended calls plus those that live."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Protocol

from api.metrics import CallHistograms, Figures
from ctl.kernel.flowrule import FlowStatistics
from ctl.observe.media_watch import Digit, MediaEvent, Stopped
from ctl.observe.quality import Interval
from ctl.queues.desk import Desk
from ctl.sessions.carrier import Counts
from ctl.sessions.flow_view import FlowSum, FlowView
from ctl.sessions.host_carriers import Carriers
from ctl.sessions.ports import Ports
from ctl.sessions.programmer import Programmer
from ctl.storage import Storage
from ctl.webhooks.events import Events
from media.flows import EngineError, EngineSummary
from sip.core import Core
from sip.effects import CallEnded

PLANES = {"kernel": "xdp", "engine": "user"}
COUNTED = {"packets": "rtp_packets", "bytes": "rtp_bytes"}
FAULTS = ("lost", "reordered", "duplicates")


class Meters:
    """Totals that only grow, fed by the conductor."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, ...]] = Counter()
        self.responses: Counter[tuple[str, ...]] = Counter()
        self.calls: Counter[tuple[str, ...]] = Counter()
        self.one_way = 0
        self.silent = 0
        self.stopped = 0
        self.digits = 0
        self.ice: Counter[tuple[str, ...]] = Counter()
        self.rtp: Counter[tuple[str, ...]] = Counter()
        self.histograms = CallHistograms()

    def message(self, data: bytes, direction: str) -> None:
        """Count one message by its first line, without reading more of it."""
        if data.startswith(b"SIP/2.0 "):
            self.responses[direction, STATUSES.get(data[8:11], "other")] += 1
            return
        method = METHODS.get(data[: data.find(b" ", 0, 16)])
        if method:
            self.requests[method, direction] += 1

    def ended(self, call: CallEnded, reports: Iterable[FlowView]) -> None:
        """Count a call that is over, and the flows that it had."""
        reports = list(reports)
        answered = call.answered is not None
        self.calls["", "answered" if answered else "failed", str(call.cause)] += 1
        for each in reports:
            if each.statistics:
                add(self.rtp, each.path, each.leg, each.statistics)
        if call.answered is not None:
            self.histograms.duration.observe(call.ended - call.answered)
            self.one_way += one_way(reports)
        if call.waited is not None:
            self.histograms.waited.observe(call.waited)
        reached = call.ringing or call.answered
        if reached is not None:
            self.histograms.setup.observe(reached - call.started)

    def media(self, event: MediaEvent) -> None:
        """Count what happens to media."""
        match event:
            case Stopped():
                self.stopped += 1
            case Digit():
                self.digits += 1

    def interval(self, interval: Interval) -> None:
        """Count how one direction fared for some seconds."""
        if interval.mos is not None:
            self.histograms.mos.observe(interval.mos)
        if interval.jitter_ms is not None:
            self.histograms.jitter.observe(interval.jitter_ms / 1000)
        if interval.round_trip is not None:
            self.histograms.round_trip.observe(interval.round_trip)


STATUSES = {b"%d" % status: str(status) for status in range(100, 700)}
METHODS = {
    name.encode(): name
    for name in ("INVITE", "ACK", "BYE", "CANCEL", "REGISTER", "OPTIONS", "INFO", "UPDATE", "PRACK", "REFER")
}


def add(totals: Counter[tuple[str, ...]], path: str, leg: str, counted: Counts | FlowStatistics) -> None:
    """Add up what flows have counted under (what, plane) and, for packets and bytes, (what, plane, leg)."""
    plane = PLANES.get(path, path)
    for field in COUNTED:
        totals[field, plane, leg] += getattr(counted, field)
    for field in FAULTS:
        totals[field, plane] += getattr(counted, field)


def one_way(flows: Iterable[FlowView]) -> bool:
    """Whether one leg of a call was heard and the other never."""
    heard = {each.leg for each in flows if each.kind == "rtp" and each.statistics and each.statistics.packets}
    return len(heard) == 1


class Parts(Protocol):
    """Those of the controller that figures are read from."""

    meters: Meters
    core: Core
    programmer: Programmer
    carriers: Carriers
    ports: Ports
    storage: Storage
    desk: Desk
    events: Events


class ControllerFigures:
    """Answers a scrape. Implements `api.metrics.FiguresSource`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def figures(self) -> Figures:
        """Return everything as of now."""
        parts = self._parts
        sums = parts.programmer.sums()
        totals = parts.meters.rtp.copy()
        for each in sums:
            add(totals, each.path, each.leg, each.counts)
        addresses = list(parts.carriers.interfaces)
        now = time.monotonic()
        return Figures(
            version=version("voxdp"),
            rtp_packets=_part(totals, "packets"),
            rtp_bytes=_part(totals, "bytes"),
            rtp_lost=_part(totals, "lost"),
            rtp_reordered=_part(totals, "reordered"),
            rtp_duplicates=_part(totals, "duplicates"),
            rtp_flows=_flows(sums, lambda each: PLANES.get(each.path, each.path)),
            rtp_stopped=parts.meters.stopped,
            rtp_digits=parts.meters.digits,
            ice=parts.meters.ice,
            one_way_sessions=parts.meters.one_way,
            silent_sessions=parts.meters.silent,
            ports_used=2 * sum(parts.ports.taken(address) for address in addresses),
            ports_free=2 * sum(parts.ports.free(address, now) for address in addresses),
            xdp_drops=self._drops(),
            xdp_fallbacks=_flows([each for each in sums if each.path == "engine"], lambda each: each.reason),
            xdp_attached=self._attached(),
            engine_drops=engine_drops(parts.carriers.process.client.summary),
            xsk_packets=parts.carriers.io.packets(),
            cpu_latency_held=float(parts.carriers.latency.held),
            sip_requests=parts.meters.requests,
            sip_responses=parts.meters.responses,
            sip_dropped={(reason,): count for reason, count in parts.core.defence.dropped.items()},
            registrations=len(parts.core.bindings()),
            calls=parts.core.counts()["calls"],
            calls_ended=parts.meters.calls,
            queue_waiting={(str(tenant), name): count for (tenant, name), count in parts.desk.here().items()},
            queue_calls={(result,): count for result, count in parts.desk.counts.items()},
            webhooks={(result,): count for result, count in parts.events.courier.counts.items()},
            cdrs_stored=parts.storage.writer.counts.stored,
            cdrs_refused=parts.storage.journal.counts.refused,
            cdr_journal_bytes=parts.storage.journal.waiting_bytes,
        )

    def _attached(self) -> dict[tuple[str, ...], float]:
        carriers = self._parts.carriers
        return {(name,): float(name not in carriers.bare) for name in carriers.interfaces.values()}

    def _drops(self) -> dict[tuple[str, ...], float]:
        table = self._parts.carriers.table
        if table is None:
            return {}
        counts = table.reasons()
        return {
            (reason,): count.packets
            for reason, count in counts.items()
            if reason != "forwarded" and not reason.startswith("pass")
        }


def engine_drops(summary: Callable[[], EngineSummary]) -> dict[tuple[str, ...], float]:
    """Packets by reason, as the kernel names them; none where no engine answers, which health tells."""
    try:
        counts = summary().reasons
    except EngineError:
        return {}
    return {(reason.replace("-", "_"),): packets for reason, (packets, _) in counts.items() if reason != "forwarded"}


def _flows(sums: Iterable[FlowSum], key: Callable[[FlowSum], str]) -> Counter[tuple[str, ...]]:
    """How many flows there are, by a label."""
    found: Counter[tuple[str, ...]] = Counter()
    for each in sums:
        found[key(each),] += each.flows
    return found


def _part(totals: Counter[tuple[str, ...]], field: str) -> dict[tuple[str, ...], float]:
    return {key[1:]: value for key, value in totals.items() if key[0] == field}
