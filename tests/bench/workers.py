# SPDX-License-Identifier: GPL-3.0-or-later
"""What a second signalling process brings: the same calls through one process and through two workers, in turns.

SIPp needs the same cores, so that calls per second of the clock would measure it, too. Counted is what the processes of
voxdp took of a core. With two cores to themselves, two workers are through with their calls when the busiest process
is, or when two cores have done the work of all, whichever takes longer; one process is through after its CPU time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.bench.calls import Rig, bench
from tests.bench.figures import Figure

WORKERS = CORES = 2
RATE, CALLS, WARM = 80, 1_200, 100
ROUNDS = 2


def measure() -> Iterator[Figure]:
    """Throughput of two workers over one process, what handing on costs, and that no call fails."""
    alone, shared, failed, handed = [], [], 0, 0
    for _ in range(ROUNDS):
        with bench() as rig:
            spent, lost = _spent(rig)
            alone.append(sum(spent))
            failed += lost
        with bench(WORKERS) as rig:
            spent, lost = _spent(rig)
            shared.append(spent)
            failed += lost
            handed += rig.controller.ask("sip", "status")["handed"]
    how = f"{CALLS} calls, {RATE}/s, {ROUNDS} rounds in turns; CPU time of voxdp run, without engine and PostgreSQL"
    through = [max(max(each), sum(each) / CORES) for each in shared]
    yield Figure("two workers over one process", median(alone) / median(through), "times", ">=", 1.7, how)
    whole = median(sum(each) for each in shared) / median(alone)
    yield Figure("CPU time per call with two workers, over one process", whole, "times", "<=", 1.18, how)
    uneven = median(max(each[1:]) / (sum(each[1:]) / WORKERS) for each in shared)
    yield Figure("the busier worker, over the mean", uneven, "times", "<=", 1.15, how)
    controller = median(each[0] / sum(each) for each in shared)
    yield Figure("the controller's part of it", 100 * controller, "%", "<=", 15, how)
    yield Figure("failed calls", failed, "calls", "<=", 0, how)
    yield Figure("datagrams that workers passed on", handed, "datagrams", "<=", 0, how)


def _spent(rig: Rig) -> tuple[list[float], int]:
    """CPU seconds of the controller and of each worker, for all calls, and how many of them failed."""
    rig.run(WARM, RATE, 0)
    before = _cpu(rig)
    outcome = rig.run(CALLS, RATE, 0)
    return [after - earlier for after, earlier in zip(_cpu(rig), before, strict=True)], outcome.failed


def _cpu(rig: Rig) -> list[float]:
    pid = rig.controller.pid
    children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    workers = [child for child in children if b"ctl.workers.worker" in Path(f"/proc/{child}/cmdline").read_bytes()]
    return [_seconds(each) for each in (pid, *sorted(workers))]


def _seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
