# SPDX-License-Identifier: GPL-3.0-or-later
"""What processes have used: CPU time by the kernel's account, dead threads included."""

import os
from collections.abc import Iterator
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(*pids: int) -> float:
    """Seconds of CPU, user and system, that these processes have taken so far."""
    return sum(_ticks(pid) for pid in pids) / TICK


def family(pid: int, without: str = "") -> Iterator[int]:
    """A process and all that it has started, those aside whose name holds `without`."""
    yield pid
    for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        if not without or without not in Path(f"/proc/{child}/comm").read_text():
            yield from family(child, without)


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
