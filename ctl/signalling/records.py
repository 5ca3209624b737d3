# SPDX-License-Identifier: GPL-3.0-or-later
"""From the end of a call to its record on disk; what waits for that is done after."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from typing import Any

import structlog

from ctl.queues.services import queue_of
from ctl.sessions.media_calls import FlowReport
from provisioning.cdr import Cdr, CdrMedia, at, cdr_id
from provisioning.charging import Charge
from provisioning.errors import JournalError
from provisioning.journal import CdrJournal
from sip.effects import CallEnded

log = structlog.get_logger()


class Records:
    """Owns the writes under way. Every method is called from the event loop."""

    def __init__(self, journal: CdrJournal, charged: Callable[[CallEnded], Charge] = lambda _: Charge(1)) -> None:
        self._journal = journal
        self._charged = charged
        self._writes: dict[str, asyncio.Future[None]] = {}

    def write(self, ended: CallEnded, reports: Iterable[FlowReport], monotonic: float, wall: datetime) -> None:
        """Begin to write the record of a call. The clocks: what both showed at one moment of the call's boot."""
        cdr = record(ended, reports, monotonic, wall, self._charged(ended))
        try:
            write = self._writes[ended.call] = self._journal.put(cdr)
        except JournalError as error:
            write = self._writes[ended.call] = asyncio.get_running_loop().create_future()
            write.set_exception(error)
        write.add_done_callback(partial(self._written, ended.call))

    def when_written(self, call: str, action: Callable[[], None]) -> None:
        """Call `action` once the record of the call is safe, at once if it is. After a failure it is not called."""
        write = self._writes.get(call)
        if write is None:
            action()
        else:
            write.add_done_callback(lambda done: action() if done.exception() is None else None)

    async def close(self) -> None:
        """Wait for what is being written."""
        await asyncio.gather(*self._writes.values(), return_exceptions=True)

    def _written(self, call: str, write: asyncio.Future[None]) -> None:
        self._writes.pop(call, None)
        error = write.exception()
        if error:
            log.error("call record not written, its call is kept in the live journal", call=call, why=str(error))


def record(ended: CallEnded, reports: Iterable[FlowReport], monotonic: float, wall: datetime, charged: Charge) -> Cdr:
    """Return the call record; `monotonic` and `wall` are what both clocks showed at one moment."""

    def when(moment: float | None) -> datetime | None:
        return None if moment is None else at(moment, monotonic, wall)

    return Cdr(
        id=cdr_id(ended.call),
        call=ended.call,
        caller=ended.caller,
        dialled=ended.dialled,
        a_call_id=ended.a_call_id,
        b_call_id=ended.b_call_id,
        started=at(ended.started, monotonic, wall),
        ringing=when(ended.ringing),
        answered=when(ended.answered),
        ended=at(ended.ended, monotonic, wall),
        status=ended.status,
        cause=ended.cause,
        ended_by=ended.ended_by,
        reason=ended.reason,
        media=media_of(reports),
        tenant=charged.tenant,
        from_trunk=ended.from_trunk or None,
        to_trunk=ended.to_trunk or None,
        cost_micros=charged.cost_micros,
        **_queued(ended),
    )


def _queued(ended: CallEnded) -> dict[str, Any]:
    """What a record says of a queue; nothing for a call that never waited in one."""
    queue = queue_of(ended.service)
    if queue is None or ended.waited is None:
        return {}
    return {
        "queue": queue[1],
        "waited_seconds": round(ended.waited, 3),
        "agent": ended.peer or None,
        "abandoned": not ended.joined,
    }


def media_of(reports: Iterable[FlowReport]) -> tuple[CdrMedia, ...]:
    """Return one entry for each direction of each RTP stream.

    A direction that moved between kernel and engine has several reports: counts add up, the rest is told by the one
    that carried most.
    """
    directions: dict[tuple[int, str], list[FlowReport]] = {}
    for report in reports:
        if report.kind == "rtp":
            directions.setdefault((report.stream, report.leg), []).append(report)
    return tuple(map(_media, directions.values()))


def _media(reports: list[FlowReport]) -> CdrMedia:
    counted = [report.statistics for report in reports if report.statistics]
    packets, lost = (sum(getattr(each, name) for each in counted) for name in ("packets", "lost"))
    most = max(reports, key=lambda report: report.statistics.packets if report.statistics else -1)
    return CdrMedia(
        sender=most.leg,
        codec=most.codec,
        path="kernel" if most.path == "kernel" else "engine",
        packets=packets,
        bytes=sum(each.bytes for each in counted),
        lost=lost,
        reordered=sum(each.reordered for each in counted),
        duplicates=sum(each.duplicates for each in counted),
        jitter_ms=most.statistics.jitter_ms if most.statistics else None,
        largest_gap_ms=max((each.largest_gap_ms for each in counted), default=0.0),
        stream=most.stream,
        **_quality(most, packets, lost),
    )


def _quality(report: FlowReport, packets: int, lost: int) -> dict[str, float | None]:
    """What was measured of a direction, by the names of CdrMedia."""
    found: dict[str, float | None] = {"loss_pct": 100 * lost / (packets + lost) if packets else None}
    if report.quality:
        found |= {
            "mos_min": report.quality.mos_min,
            "mos_avg": report.quality.mos_avg,
            "jitter_max_ms": report.quality.jitter_max_ms,
        }
    if report.round_trip_avg is not None:
        found["rtt_ms"] = 1000 * report.round_trip_avg
    return {name: None if value is None else round(value, 3) for name, value in found.items()}
