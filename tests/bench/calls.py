# SPDX-License-Identifier: GPL-3.0-or-later
"""What calls cost: voxdp between two SIPp in network namespaces, digest and kernel flows included.

The caller proves its password, the callee is a trunk. The rate goes up until voxdp has no CPU time left, or SIPp has to
say things twice. Figures are per CPU-second of `voxdp run`, so that neither SIPp nor what else the machine does counts;
memory is of all processes of voxdp.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

from tests.bench.abandoned import abandoned, private
from tests.bench.callers import PASSWORD, USER, Callers
from tests.bench.figures import Figure, Yardstick
from tests.bench.processes import cpu_seconds, family
from tests.bench.proxy import Proxy, proxying
from vm.controller import Controller
from vm.lab import Lab
from vm.process import LabError
from vm.sipp import Outcome, Sipp

RATES = (50, 100, 150, 200, 300, 400, 500, 700, 1000)
STEP_SECONDS = 5.0
BUSY = 0.8
"""Share of a CPU above which the next step would only measure a queue."""
GOAL = 500
PROXY = Yardstick("Kamailio as a mere proxy of the same calls", 3_500)
PROXY_RATE = 700
ROUNDS = 3
HELD = 1_000
LOSSES = (5, 20)
LOSSY_CALLS, LOSSY_RATE = 200, 20
SETTLE = 64.0
"""Seconds in which whatever is left of a call must be gone."""
MORE = """
[sip.limits]
requests_per_source = 0
amplification = 0
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
        rig.run(100, RATES[0], 0)  # what happens once
        steps = climb(rig)
        best = max(steps, key=lambda step: step.per_cpu)
        yield from beside_proxy(rig, best)
        last = steps[-1]
        how = f"steps of {STEP_SECONDS:g} s, the last at {last.rate}/s with {last.busy:.0%} of a CPU and "
        how += f"{last.outcome.retransmissions} retransmissions of SIPp"
        yield Figure("failed calls", sum(step.outcome.failed for step in steps), "calls", "<=", 0, how)
        yield rig.memory(int(best.rate * BUSY))
        lossy = {loss: rig.lossy(loss, 5062 + place) for place, loss in enumerate(LOSSES)}
        given_up = list(abandoned(SETTLE))  # meanwhile, for what is lost takes a minute to be given up
        ended = {loss: caller.finish(LOSSY_CALLS / LOSSY_RATE + 90.0) for loss, caller in lossy.items()}
        yield rig.left(time.monotonic() + SETTLE + 10)
        for loss, outcome in ended.items():
            yield rig.recorded(loss, outcome)
        yield from given_up


@dataclass(frozen=True, slots=True)
class Step:
    """Calls at one rate. cpu: seconds that they took; busy: the share of a CPU that was used meanwhile."""

    rate: int
    calls: int
    cpu: float
    busy: float
    outcome: Outcome

    @property
    def per_cpu(self) -> float:
        return self.calls / self.cpu

    @property
    def enough(self) -> bool:
        return self.busy > BUSY or self.outcome.retransmissions > self.calls or self.outcome.failed > 0


def beside_proxy(rig: Rig, best: Step) -> Iterator[Figure]:
    """Calls at our best rate, and at its own by Kamailio, in turns."""
    ratios, theirs = list[float](), list[Step]()
    with proxying() as proxy:
        proxy.run(100, RATES[0], 0)
        for _ in range(ROUNDS):
            mine, other = step(rig, best.rate), step(proxy, PROXY_RATE)
            ratios.append(mine.per_cpu / other.per_cpu)
            theirs.append(other)
    how = f"{best.calls} calls, {best.rate}/s, with digest, kernel flows, journal and record; CPU time of voxdp run; "
    how += f"Kamailio: digest alone, at {PROXY_RATE}/s; median of {ROUNDS} rounds in turns"
    rate = median(each.per_cpu for each in theirs)
    yield from PROXY.figures("back-to-back calls", best.per_cpu, GOAL, median(ratios), rate, how)
    failed = sum(each.outcome.failed for each in theirs)
    yield Figure("failed calls of Kamailio", failed, "calls", "<=", 0, "where one fails, the yardstick is none")


def climb(rig: Rig) -> list[Step]:
    """Place calls at one rate after the other, until voxdp can do no more."""
    steps: list[Step] = []
    for rate in RATES:
        steps.append(step(rig, rate))
        if steps[-1].enough:
            break
    return steps


def step(rig: Rig | Proxy, rate: int) -> Step:
    """Place calls at one rate, and see what they cost."""
    calls, began, before = int(rate * STEP_SECONDS), time.monotonic(), rig.cpu()
    outcome = rig.run(calls, rate, 0)
    cpu = rig.cpu() - before
    return Step(rate, calls, cpu, cpu / (time.monotonic() - began), outcome)


@dataclass(slots=True)
class Rig(Callers):
    """voxdp, a caller and a callee."""

    controller: Controller

    def cpu(self) -> float:
        """CPU seconds that voxdp run has taken so far."""
        return cpu_seconds(self.controller.pid)

    def resident(self) -> int:
        """Bytes of private memory of voxdp run and of all that it has started, PostgreSQL aside."""
        return sum(private(pid) for pid in family(self.controller.pid, without="postgres"))

    def memory(self, rate: int) -> Figure:
        """What a call takes up while it is there."""
        before = self.resident()
        talk = int(1000 * (HELD / rate + 10))
        caller = self.begin(HELD, rate, talk)
        self._until(lambda status: status["calls"] == HELD, talk / 1000)
        grown = (self.resident() - before) / HELD
        caller.finish(60.0 + talk / 1000)
        how = f"{HELD} calls at once; private memory of voxdp run and its engine, over what they had before"
        return Figure("memory per call", grown / 1000, "kB", "<=", 250, how)

    def lossy(self, loss: int, port: int) -> Sipp:
        """Begin calls of which SIPp loses so many percent of its messages."""
        named = ("-cid_str", f"{loss}percent-%u-%p@%s")
        return self.begin(LOSSY_CALLS, LOSSY_RATE, 500, "-lost", str(loss), *named, port=port)

    def recorded(self, loss: int, outcome: Outcome) -> Figure:
        """How many calls have no record, or several; a call of which nothing arrived is none."""
        records = self.controller.ask("cdr", "list", "-n", str(8 * LOSSY_CALLS))
        named = [each["a_call_id"] for each in records if each["a_call_id"].startswith(f"{loss}percent-")]
        wrong = len(named) - len(set(named)) + max(0, outcome.successful - len(set(named)))
        how = f"{LOSSY_CALLS} calls, {loss} % of the caller's messages lost, {outcome.successful} completed by SIPp; "
        how += f"{len(named)} records"
        return Figure(f"calls without one record after {loss} % loss", wrong, "calls", "<=", 0, how)

    def left(self, deadline: float) -> Figure:
        """What is held of calls when all have been given up."""
        left = self._held()
        while left and time.monotonic() < deadline:
            time.sleep(1)
            left = self._held()
        how = f"calls, dialogs, transactions, questions, flows; {SETTLE:g} s after the last message"
        return Figure("left after loss", left, "things", "<=", 0, how)

    def _held(self) -> int:
        status = self.controller.ask("sip", "status")
        held = sum(status[name] for name in ("calls", "dialogs", "transactions", "questions"))
        return int(held) + len(self.controller.ask("flow", "list"))

    def _until(self, reached: Callable[[dict[str, Any]], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not reached(status := self.controller.ask("sip", "status")):
            if time.monotonic() > deadline:
                raise RuntimeError(f"only {status['calls']} calls after {seconds:.0f} s: is the machine busy?")
            time.sleep(0.5)


@contextmanager
def bench(workers: int = 1) -> Iterator[Rig]:
    """A lab with voxdp in it, with all ports that may be had, and a callee that answers."""
    with Lab("two") as lab:
        controller = Controller(lab, more=MORE.format(address=lab.b.address), port_max=32_767, workers=workers)
        controller.attach()
        controller.start()
        _await_database(controller)
        controller.add_user(USER, PASSWORD)
        Sipp(lab, lab.b, "callee", ["-sn", "uas"])
        yield Rig(lab, controller)


def _await_database(controller: Controller) -> None:
    """It is made at the first start, which takes its time on a busy machine."""
    deadline = time.monotonic() + 60
    while True:
        try:
            controller.ask("user", "list")
            return
        except LabError:
            if time.monotonic() > deadline:
                raise
