# SPDX-License-Identifier: GPL-3.0-or-later
"""The recorder's process, with what the kernel relay mirrors: `voxdp recorder`.

The relay may be attached, upgraded or taken away while it runs; then the other ring buffer is read.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ctl.kernel._libbpf import ffi, lib
from ctl.kernel.libbpf import BpfError, Map
from ctl.kernel.pins import Pins
from ctl.kernel.ringbuffer import RingBuffer
from media.recorder_process import parse, run

AT_ONCE = 1024
LOOK_SECONDS = 1.0


class Mirror:
    """The one reader of the pinned ring buffer `mirror`, wherever it is now."""

    def __init__(self, pins: Pins) -> None:
        self._path = pins.map("mirror")
        self._taken = ffi.new("struct copy[]", AT_ONCE)
        self._ring: RingBuffer | None = None
        self._inode = 0
        self._looked = 0.0

    def __call__(self) -> tuple[int, int]:
        """Return address and number of copies that have come since."""
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._follow()
        count = lib.copies_drain(*self._ring.memory, self._taken, AT_ONCE) if self._ring else 0
        return int(ffi.cast("uintptr_t", self._taken)), count

    def _follow(self) -> None:
        try:
            inode = self._path.stat().st_ino
        except OSError:
            inode = 0
        if inode == self._inode:
            return
        if self._ring:
            self._ring.close()
            self._ring = None
        self._inode = inode
        try:
            self._ring = RingBuffer(Map.from_pin(self._path)) if inode else None
        except (BpfError, OSError) as error:
            print(f"recorder: {self._path}: {error}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a recorder by command line; the exit status."""
    parser = argparse.ArgumentParser(prog="voxdp recorder", description="Record calls.")
    parser.add_argument("--bpffs", type=Path, help="where the kernel relay is pinned; without it, taps alone")
    known, _ = parser.parse_known_args(arguments)
    return run(parse(arguments, parser), Mirror(Pins(known.bpffs)) if known.bpffs else None)


if __name__ == "__main__":
    sys.exit(main())
