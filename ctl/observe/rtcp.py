# SPDX-License-Identifier: GPL-3.0-or-later
"""Sender and receiver reports of RTCP (RFC 3550 sections 6.4.1 and 6.4.2), as far as bytes of a stranger tell them.

Pure. What is cut, malformed or of another type is passed over; nothing here raises.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

SENDER_REPORT, RECEIVER_REPORT = 200, 201
HEADER, BLOCK = struct.Struct("!BBHI"), struct.Struct("!IIIIII")
SENDER_INFORMATION = struct.Struct("!QIII")
DELAY_UNIT = 65536  # of a second
SIGN = 1 << 23


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """What a receiver says of one source.

    fraction_lost: share, 0 to 1, since its last report. lost: packets since it began, negative where there were
    duplicates. jitter: ticks of the RTP clock. last_report: the middle 32 bits of the NTP time stamp of the last
    sender report that it had, 0: none. delay: seconds from that to this report.
    """

    source: int
    fraction_lost: float
    lost: int
    highest_sequence: int
    jitter: int
    last_report: int
    delay: float


@dataclass(frozen=True, slots=True)
class Report:
    """One SR or RR. time: the middle 32 bits of an SR's NTP time stamp, None: it is an RR."""

    sender: int
    time: int | None
    blocks: tuple[ReportBlock, ...]


def parse(compound: bytes) -> list[Report]:
    """Return the reports in a compound packet, of which the end may be missing."""
    return list(_reports(compound))


def _reports(data: bytes) -> Iterator[Report]:
    at = 0
    while at + HEADER.size <= len(data):
        first, kind, words, sender = HEADER.unpack_from(data, at)
        if first >> 6 != 2:
            return
        end = at + 4 * (words + 1)
        if kind in (SENDER_REPORT, RECEIVER_REPORT):
            report = _report(data[at : min(end, len(data))], kind, first & 31, sender)
            if report:
                yield report
        at = end


def _report(packet: bytes, kind: int, count: int, sender: int) -> Report | None:
    at, time = HEADER.size, None
    if kind == SENDER_REPORT:
        if len(packet) < at + SENDER_INFORMATION.size:
            return None
        time = SENDER_INFORMATION.unpack_from(packet, at)[0] >> 16 & 0xFFFFFFFF
        at += SENDER_INFORMATION.size
    whole = min(count, (len(packet) - at) // BLOCK.size)
    return Report(sender, time, tuple(_block(packet, at + place * BLOCK.size) for place in range(whole)))


def _block(packet: bytes, at: int) -> ReportBlock:
    source, losses, highest, jitter, last_report, delay = BLOCK.unpack_from(packet, at)
    lost = losses & 0xFFFFFF
    return ReportBlock(
        source,
        (losses >> 24) / 256,
        lost - 2 * SIGN if lost & SIGN else lost,
        highest,
        jitter,
        last_report,
        delay / DELAY_UNIT,
    )
