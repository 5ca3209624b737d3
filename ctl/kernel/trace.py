# SPDX-License-Identifier: GPL-3.0-or-later
"""Live tracing of the kernel relay with BCC: what it drops, what is lost behind it, how long frames take.

BCC is Debian's python3-bpfcc, which no virtual environment has; it is imported from there when somebody traces, and
never else. It compiles bpf/trace.bcc.c on this host, for which it wants the headers of the kernel that runs.
"""

from __future__ import annotations

import errno
import importlib
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bpf
from ctl.kernel.flowtable import FlowTable
from ctl.kernel.pins import Pins

DEBIAN_PACKAGES = "/usr/lib/python3/dist-packages"
SOURCE = Path(bpf.__file__).parent / "trace.bcc.c"
MODULES = Path("/lib/modules")
LOSSES = {1: "redirect", 2: "transmit", 3: "exception"}
ACTIONS = {0: "XDP_ABORTED", 1: "XDP_DROP", 2: "XDP_PASS", 3: "XDP_TX", 4: "XDP_REDIRECT"}

Loss = tuple[str, str]
"""How a frame was lost behind the relay, and the error or verdict that the driver had."""


class TraceUnavailable(Exception):
    """This host cannot be traced; one line with the remedy."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What has been counted so far. latency, batches: by slot n, which stands for 2^(n-1) up to 2^n - 1.

    latency: frames, by the nanoseconds of receiving that each took; batches: rounds of receiving, by their frames.
    """

    reasons: Mapping[str, int] = field(default_factory=dict)
    losses: Mapping[Loss, int] = field(default_factory=dict)
    latency: Mapping[int, int] = field(default_factory=dict)
    batches: Mapping[int, int] = field(default_factory=dict)

    def since(self, before: Counts) -> Counts:
        """Return what has come since then; what has not changed is left out."""
        return Counts(
            _grown(self.reasons, before.reasons),
            _grown(self.losses, before.losses),
            _grown(self.latency, before.latency),
            _grown(self.batches, before.batches),
        )


class Tracer:
    """A trace under way, until `close`. Needs CAP_BPF and CAP_PERFMON. Raises TraceUnavailable."""

    def __init__(self, pins: Pins, modules: Path = MODULES) -> None:
        if not pins.exist():
            raise TraceUnavailable("the kernel relay is not loaded; run: sudo voxdp attach")
        compiler = find_bcc()
        _check_headers(modules)
        self._table = FlowTable.open(pins.directory)
        flags = [f'-DREASONS_PIN="{pins.map("reasons")}"', "-Wno-macro-redefined"]
        try:
            self._program = compiler(text=SOURCE.read_bytes(), cflags=flags)
        except Exception as error:
            self._table.close()
            raise TraceUnavailable(f"BCC could not compile or load the trace: {error}; run it as root") from None

    def read(self) -> Counts:
        """Return what has been counted since the trace began; the reasons, since the relay was loaded."""
        losses = {
            (LOSSES.get(key.kind, str(key.kind)), _error(key.kind, key.error)): value.value
            for key, value in self._program["losses"].items()
        }
        return Counts(
            {name: count.packets for name, count in self._table.reasons().items()},
            losses,
            {key.value: sum(values) for key, values in self._program["latency"].items()},
            {key.value: sum(values) for key, values in self._program["batches"].items()},
        )

    def close(self) -> None:
        """Take everything out of the kernel again."""
        self._program.cleanup()
        self._table.close()


def find_bcc(packages: str = DEBIAN_PACKAGES) -> Callable[..., Any]:
    """Return BCC's compiler. Raises TraceUnavailable; a package `bcc` of PyPI is another thing, and passed over."""
    sys.path.insert(0, packages)
    try:
        compiler: Callable[..., Any] = importlib.import_module("bcc").BPF
        return compiler
    except (ImportError, AttributeError):
        raise TraceUnavailable("BCC is missing; run: apt-get install python3-bpfcc linux-headers-amd64") from None
    finally:
        sys.path.remove(packages)


def _check_headers(modules: Path) -> None:
    """BCC looks for them in one place only."""
    release = platform.release()
    if (modules / release / "build").exists():
        return
    others = sorted(path.parent for path in modules.glob("*/build"))
    remedy = f"run: apt-get install linux-headers-{release}"
    if others:
        remedy += f", or take those of a near kernel: ln -s {others[-1]} {modules / release}"
    raise TraceUnavailable(f"the headers of kernel {release} are missing; {remedy}")


def _error(kind: int, number: int) -> str:
    if LOSSES.get(kind) == "exception":
        return ACTIONS.get(number, str(number))
    return errno.errorcode.get(number, "none" if number == 0 else str(number))


def _grown(now: Mapping[Any, int], before: Mapping[Any, int]) -> dict[Any, int]:
    changed = ((key, value - before.get(key, 0)) for key, value in now.items())
    return {key: value for key, value in changed if value > 0}
