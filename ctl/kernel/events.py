# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel relay reports: typed events out of its ring buffer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctl.kernel._libbpf import ffi, lib
from ctl.kernel.flowrule import NANOSECONDS, REASONS, Endpoint, mapped_endpoint
from ctl.kernel.libbpf import Map
from ctl.kernel.ringbuffer import RingBuffer

DRAIN_LIMIT = 512


@dataclass(frozen=True, slots=True)
class FlowEvent:
    """What every event has: when (seconds of CLOCK_MONOTONIC), the flow and its generation, who sent the packet.

    An event whose generation is not the flow's any more is of a rule that has been replaced.
    """

    time: float
    flow: int
    generation: int
    source: Endpoint


@dataclass(frozen=True, slots=True)
class Learned(FlowEvent):
    """The flow's source port is known now, and is the only one that may send."""


@dataclass(frozen=True, slots=True)
class Rejected(FlowEvent):
    """A stranger sent to the flow; at most one event a second and flow. reason: as in `FlowTable.reasons`."""

    reason: str


@dataclass(frozen=True, slots=True)
class SsrcChanged(FlowEvent):
    """The stream has a new synchronisation source (RFC 3550 section 5.1)."""

    ssrc: int


@dataclass(frozen=True, slots=True)
class Rtcp(FlowEvent):
    """The first bytes, at most EVENT_PAYLOAD, of a compound RTCP packet that was forwarded."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Dtmf(FlowEvent):
    """A telephone event (RFC 4733) has ended, or its end was lost and something else followed.

    event: 0-9 are the digits, 10 is *, 11 #, 12-15 A-D. volume: dBm0 without its sign. timestamp: RTP time stamp of
    the beginning; duration: ticks of the same clock.
    """

    ssrc: int
    event: int
    volume: int
    timestamp: int
    duration: int


Event = Learned | Rejected | SsrcChanged | Rtcp | Dtmf


class EventReader:
    """The one consumer of the ring buffer `events` of a loaded relay. Needs no capability.

    Strangers and RTCP wake nobody: besides waiting for the descriptor, drain by a timer.
    """

    def __init__(self, pin_dir: Path) -> None:
        self._ring = RingBuffer(Map.from_pin(pin_dir / "events"))
        self._taken = ffi.new("struct event[]", DRAIN_LIMIT)

    def fileno(self) -> int:
        """A descriptor that is readable while there are events; for `loop.add_reader`."""
        return self._ring.map.fd

    def drain(self) -> list[Event]:
        """Take at most DRAIN_LIMIT events, oldest first, without waiting.

        The descriptor stays readable while there are more. Types that this version does not know are left out.
        """
        count = lib.events_drain(*self._ring.memory, self._taken, DRAIN_LIMIT)
        decoded = (decode(self._taken[place]) for place in range(count))
        return [event for event in decoded if event]

    def close(self) -> None:
        """Unmap; what was not read stays for the next reader."""
        self._ring.close()


def decode(event: Any) -> Event | None:
    """A struct event of bpf/flow.h as its dataclass; None for an unknown type."""
    kind = DECODERS.get(event.type)
    if kind is None:
        return None
    source = mapped_endpoint(event.address, event.port) or ("0.0.0.0", 0)  # noqa: S104 - no address to bind
    return kind(event, (event.time / NANOSECONDS, event.flow, event.generation, source))


Header = tuple[float, int, int, Endpoint]
DECODERS: dict[int, Callable[[Any, Header], Event]] = {
    lib.EVENT_LEARNED: lambda event, header: Learned(*header),
    lib.EVENT_REJECTED: lambda event, header: Rejected(*header, REASONS.get(event.reason, str(event.reason))),
    lib.EVENT_SSRC: lambda event, header: SsrcChanged(*header, event.ssrc),
    lib.EVENT_RTCP: lambda event, header: Rtcp(*header, bytes(event.payload[0 : event.length])),
    lib.EVENT_DTMF: lambda event, header: Dtmf(
        *header, event.ssrc, event.digit, event.volume, event.timestamp, event.duration
    ),
}
