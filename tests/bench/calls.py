# SPDX-License-Identifier: GPL-3.0-or-later
"""What calls cost: voxdp between two SIPp in network namespaces, digest and kernel flows included.

The caller proves its password, the callee is a trunk. Figures are per CPU-second of `voxdp run`, so that neither SIPp
nor what else the machine does counts; memory is of all processes of voxdp.
"""

from __future__ import annotations

import gc
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.figures import Figure
from tests.sip.conftest import Peer, World
from tests.sip.test_simulation import given_up_at
from vm.controller import Controller
from vm.lab import Lab
from vm.sipp import Outcome, Sipp

SCENARIO = Path(__file__).with_name("caller.xml")
RATE, CALLS = 200, 3_000
HELD = 1_000
LOSSES = (5, 20)
LOSSY_CALLS = 200
ABANDONED = 10_000
SETTLE = 64.0
"""Seconds in which whatever is left of a call must be gone."""
MORE = """
[sip.limits]
requests_per_source = 0
calls_per_user = 0

[[sip.trunks]]
name = "carrier"
domain = "carrier.lab"
proxies = ["sip:{address}:5060"]
probe = 0
dial = ["0"]
"""


def measure() -> Iterator[Figure]:
    """Calls per CPU-second, memory per call, and what is left of calls whose messages get lost."""
    with bench() as rig:
        rig.run(200, RATE, 0)  # what happens once
        before = rig.cpu()
        outcome = rig.run(CALLS, RATE, 0)
        per_second = CALLS / (rig.cpu() - before)
        how = f"{CALLS} calls, {RATE}/s, with digest, kernel flows, journal and record; CPU time of voxdp run"
        yield Figure("back-to-back calls", per_second, "1/CPU-s", ">=", 500, how)
        yield Figure("failed calls", outcome.failed, "calls", "<=", 0, how)
        yield rig.memory()
    for loss in LOSSES:
        with bench() as rig:
            yield from rig.lossy(loss)
    yield from abandoned()


def abandoned() -> Iterator[Figure]:
    """What the core keeps of calls that are given up at every step, ten percent at each."""
    world = World(ring_time=30.0)
    anna, bert = Peer(world, "anna", "192.0.2.7"), Peer(world, "bert", "203.0.113.9")
    bert.register()
    dice, sizes = random.Random(1), []
    for half in range(2):
        for number in range(ABANDONED // 2):
            given_up_at(anna, bert, half * ABANDONED + number, dice)
            world.log.clear()
        world.pass_time(SETTLE)
        world.wire.clear()
        gc.collect()
        sizes.append(_private(os.getpid()))
    counts = world.core.counts()
    left = sum(counts[name] for name in ("calls", "dialogs", "transactions", "questions"))
    how = f"{ABANDONED} calls in the core alone, 10 % given up at each step"
    yield Figure("left after abandoned calls", left, "things", "<=", 0, f"{how}; {SETTLE:g} s after the last")
    grown = (sizes[1] - sizes[0]) / 1e6
    yield Figure("memory grown by abandoned calls", grown, "MB", "<=", 1, f"{how}; by the second half of them")


@dataclass(slots=True)
class Rig:
    """voxdp, a caller and a callee."""

    lab: Lab
    controller: Controller
    runs: int = 0

    def run(self, calls: int, rate: int, talk: int, *more: str, wait: float = 120.0) -> Outcome:
        """Place so many calls that talk for so many milliseconds; until the last has ended."""
        return self.begin(calls, rate, talk, *more).finish(wait + calls / rate)

    def begin(self, calls: int, rate: int, talk: int, *more: str) -> Sipp:
        """The same, not waited for."""
        self.runs += 1
        relay = f"{self.lab.a.relay}:5060"
        limits = ["-r", str(rate), "-m", str(calls), "-l", "50000", "-d", str(talk)]
        target = ["-s", "0301", "-auth_uri", f"0301@{relay}", *more, relay]
        return Sipp(self.lab, self.lab.a, f"caller{self.runs}", ["-sf", str(SCENARIO), *limits, *target])

    def cpu(self) -> float:
        """CPU seconds that voxdp run has taken so far."""
        fields = Path(f"/proc/{self.controller.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident(self) -> int:
        """Bytes of private memory of voxdp run and of all that it has started, PostgreSQL aside."""
        return sum(_private(pid) for pid in _family(self.controller.pid))

    def memory(self) -> Figure:
        before = self.resident()
        caller = self.begin(HELD, RATE, 20_000)
        self.controller.until("calls", "call", "list", count=HELD, timeout=30.0)
        grown = (self.resident() - before) / HELD
        caller.finish(60.0)
        how = f"{HELD} calls at once; private memory of voxdp run and its engine, over what they had before"
        return Figure("memory per call", grown / 1000, "kB", "<=", 250, how)

    def lossy(self, loss: int) -> Iterator[Figure]:
        """Calls of which SIPp loses so many percent of its messages: each ends, and has one record."""
        self.run(LOSSY_CALLS, 20, 500, "-lost", str(loss), wait=90.0)
        deadline = time.monotonic() + SETTLE + 10
        left = self.left()
        while left and time.monotonic() < deadline:
            time.sleep(1)
            left = self.left()
        records = self.controller.ask("cdr", "list", "-n", str(4 * LOSSY_CALLS))
        ids = [record["call"] for record in records]
        how = f"{LOSSY_CALLS} calls, {loss} % of the caller's messages lost"
        yield Figure(
            f"left after {loss} % loss", left, "things", "<=", 0, f"{how}; calls, dialogs, transactions, flows"
        )
        yield Figure(f"records not unique after {loss} % loss", len(ids) - len(set(ids)), "records", "<=", 0, how)
        started = len(set(ids))
        yield Figure(f"calls recorded after {loss} % loss", started, "calls", ">=", LOSSY_CALLS * (1 - loss / 50), how)

    def left(self) -> int:
        """How much the controller holds of calls."""
        status = self.controller.ask("sip", "status")
        held = sum(status[name] for name in ("calls", "dialogs", "transactions", "questions"))
        return int(held) + len(self.controller.ask("flow", "list"))


@contextmanager
def bench() -> Iterator[Rig]:
    """A lab with voxdp in it, with all ports that there are, and a callee that answers."""
    with Lab("two") as lab:
        controller = Controller(lab, more=MORE.format(address=lab.b.address), port_max=32_767)
        controller.attach()
        controller.start()
        controller.add_user("alice", "secret-of-alice")
        Sipp(lab, lab.b, "callee", ["-sn", "uas"])
        yield Rig(lab, controller)


def _family(pid: int) -> Iterator[int]:
    yield pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for child in map(int, children):
        if "postgres" not in Path(f"/proc/{child}/comm").read_text():
            yield from _family(child)


def _private(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in rollup if line.startswith(("Private_", "Swap:")))
