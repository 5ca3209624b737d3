# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps processors from deep sleep while the engine has flows, by the kernel's PM QoS (power/pm_qos_interface.rst).

A packet for a processor that sleeps deeply waits until it is awake. What is written to /dev/cpu_dma_latency bounds
that time for all processors of the host, for as long as the file is open: an engine that is killed bounds nothing.
"""

from __future__ import annotations

import errno
import math
import os
import struct
from pathlib import Path

from media.flows import EngineLatency
from media.wire_opener import LATENCY_DEVICE, ask_latency_device, open_latency_device

UNBOUNDED = -1
"""PM_QOS_DEFAULT_VALUE: written, it takes the bound back."""
MOST_MICROSECONDS = 2_000_000_000
"""PM_QOS_CPU_LATENCY_DEFAULT_VALUE, no bound at all."""
LINGER = 5.0
"""Seconds without a flow after which the bound is taken back: calls that follow one another are one stretch of work."""
BOUND = struct.Struct("=i")


class CpuLatency:
    """The bound of one engine."""

    def __init__(self) -> None:
        self._microseconds = UNBOUNDED
        self._device: int | None = None
        self._held = False
        self._trouble = ""
        self._used = -math.inf

    def want(self, microseconds: int, opener: Path) -> EngineLatency:
        """Bound it by that while there are flows; UNBOUNDED: never.

        The device stays open from now on, so that its opener is not needed again.
        """
        changed, self._microseconds = microseconds != self._microseconds, microseconds
        if microseconds == UNBOUNDED:
            self._close()
            self._trouble = ""
        elif self._device is None:
            self._open(opener)
        elif changed and self._held:
            self._set(held=True)
        return EngineLatency(self._held, self._trouble)

    def turn(self, used: bool, now: float) -> None:
        """Tell whether there are flows now. now: seconds on a clock that is never set."""
        if used:
            self._used = now
        held = used or now - self._used < LINGER
        if self._device is not None and held != self._held:
            self._set(held)

    def _set(self, held: bool) -> None:
        assert self._device is not None
        try:
            os.write(self._device, BOUND.pack(self._microseconds if held else UNBOUNDED))
            self._held, self._trouble = held, ""
        except OSError as error:
            self._trouble = f"{LATENCY_DEVICE}: {error.strerror}"

    def _open(self, opener: Path) -> None:
        found = open_device(opener)
        self._device = found if found >= 0 else None
        self._trouble = "" if found >= 0 else trouble(-found, os.geteuid())

    def _close(self) -> None:
        if self._device is not None:
            os.close(self._device)
        self._device, self._held = None, False


def open_device(opener: Path) -> int:
    """A descriptor of ours, or else of the opener's; or an errno as a negative number."""
    found = open_latency_device()
    return ask_latency_device(opener) if found in (-errno.EACCES, -errno.EPERM) else found


def trouble(error: int, uid: int) -> str:
    """Why a user has no descriptor, in one line with the remedy."""
    if error in (errno.EACCES, errno.EPERM):
        return (
            f"the engine may not open {LATENCY_DEVICE}, and nobody does it for it; "
            f"run: voxdp attach, or: chown {uid} {LATENCY_DEVICE}"
        )
    if error == errno.ENOENT:
        return f"there is no {LATENCY_DEVICE}; give it to the container, or set media.cpu_dma_latency to -1"
    return f"{LATENCY_DEVICE}: {os.strerror(error)}"
