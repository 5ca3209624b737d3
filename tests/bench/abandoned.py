# SPDX-License-Identifier: GPL-3.0-or-later
"""What the core keeps of calls that are given up at every step, ten percent at each, under a clock that is a number."""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Iterator
from pathlib import Path

from tests.bench.figures import Figure
from tests.sip.conftest import Peer, World
from tests.sip.test_simulation import given_up_at

ABANDONED = 10_000


def abandoned(settle: float) -> Iterator[Figure]:
    """settle: seconds in which all must be gone."""
    world = World(ring_time=30.0)
    anna, bert = Peer(world, "anna", "192.0.2.7"), Peer(world, "bert", "203.0.113.9")
    bert.register()
    dice, sizes = random.Random(1), []
    for half in range(2):
        for number in range(ABANDONED // 2):
            given_up_at(anna, bert, half * ABANDONED + number, dice)
            world.log.clear()
        world.pass_time(settle)
        world.wire.clear()
        gc.collect()
        sizes.append(private(os.getpid()))
    counts = world.core.counts()
    left = sum(counts[name] for name in ("calls", "dialogs", "transactions", "questions"))
    how = f"{ABANDONED} calls in the core alone, 10 % given up at each step"
    yield Figure("left after abandoned calls", left, "things", "<=", 0, f"{how}; {settle:g} s after the last")
    grown = (sizes[1] - sizes[0]) / 1e6
    yield Figure("memory grown by abandoned calls", grown, "MB", "<=", 1, f"{how}; by the second half of them")


def private(pid: int) -> int:
    """Bytes of memory that a process shares with no other."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in rollup if line.startswith(("Private_", "Swap:")))
