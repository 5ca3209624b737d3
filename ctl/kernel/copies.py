# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of packets that the kernel relay makes on request: of RTP for recording, of whole frames for captures.

They come by ring buffers that wake nobody: read by a timer. What finds a ring full is counted at the flow as
`copies_dropped`; the packet itself goes its way.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from ctl.kernel._libbpf import ffi, lib
from ctl.kernel.flowrule import NANOSECONDS
from ctl.kernel.libbpf import Map
from ctl.kernel.ringbuffer import RingBuffer

AT_ONCE = 256


class CopyKind(IntEnum):
    """What was copied: a frame as it came or as it left, or the payload of a datagram."""

    BEFORE = lib.COPY_BEFORE
    AFTER = lib.COPY_AFTER
    PAYLOAD = lib.COPY_PAYLOAD


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy. time: seconds of CLOCK_MONOTONIC, when the packet came. length: of the original, if `data` is less."""

    time: float
    flow: int
    generation: int
    kind: CopyKind
    length: int
    data: bytes


class CopyReader:
    """The one consumer of the ring buffer `mirror` or `captures` of a loaded relay, which it owns from now on."""

    def __init__(self, ring: Map) -> None:
        self._ring = RingBuffer(ring)
        self._taken = ffi.new("struct copy[]", AT_ONCE)

    def read(self, limit: int) -> list[Copy]:
        """Take at most `limit` copies, oldest first, without waiting."""
        copies: list[Copy] = []
        while len(copies) < limit:
            wanted = min(AT_ONCE, limit - len(copies))
            count = lib.copies_drain(*self._ring.memory, self._taken, wanted)
            copies += [_decode(self._taken[place]) for place in range(count)]
            if count < wanted:
                break
        return copies

    def close(self) -> None:
        """Unmap; what was not read stays for the next reader."""
        self._ring.close()


def _decode(copy: Any) -> Copy:
    data = bytes(ffi.buffer(copy.bytes, copy.captured))
    return Copy(copy.time / NANOSECONDS, copy.flow, copy.generation, CopyKind(copy.kind), copy.length, data)
