# SPDX-License-Identifier: GPL-3.0-or-later
"""How long SRTP takes through a worker, frame to frame, at fixed numbers of calls and at half of what it can carry.

A CPU that has nothing to do sleeps, and to wake it takes time: on a virtual machine the host's, which may be busy. So
half load is measured twice: as the machine is, and with its CPUs kept from sleep by the engine itself, as with
media.cpu_dma_latency = 0; in turns, for the machine has other things to do at one time than at another.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

from media.wire_opener import LATENCY_DEVICE
from tests.bench.carrying import PACKETS_PER_CALL, PEERS_CPU, RELAY_CPU, ROUNDS, Bench, TooFew
from tests.bench.figures import Figure
from tests.bench.lab import identity, inside, on_cpu, run
from tests.bench.userspace import (
    CALLED,
    CALLER,
    FIRST_PEER_PORT,
    MASTER,
    PEER_LINK,
    RELAY,
    RELAY_LINK,
    SUITE_NUMBER,
    ours_wired,
)

CALLS = 300, 500
SECONDS = 4.0
LEAST_ARRIVED = 0.999
GOAL_MS = 1.0


@dataclass(frozen=True)
class Passed:
    """delays: how many packets took so many microseconds, by these. load: part of its CPU that the relay used."""

    delays: Sequence[int]
    load: float
    waited: float
    lost: int

    @property
    def timed(self) -> int:
        return sum(self.delays)

    def within(self, part: float) -> int:
        """Microseconds that this part of the packets kept to."""
        if not self.timed:
            raise TooFew("no packet was timed")
        return bisect_left(list(accumulate(self.delays)), part * self.timed)


def measure(rate: float) -> Iterator[Figure]:
    """Yield the delay at CALLS and at half load. rate: packets that a worker carries in a second of CPU time.

    As many as that are sent in two seconds at half load, whatever else the worker does meanwhile.
    """
    half = round(rate / PACKETS_PER_CALL / 2)
    ways = (False, True) if LATENCY_DEVICE.exists() else (False,)
    with Bench("sink_timed") as bench:
        bench.compile("many")
        for calls in CALLS:
            yield figure(f"engine srtp delay p99, {calls} calls", calls, rounds(bench, calls, (False,))[False])
        for awake, outcomes in rounds(bench, half, ways).items():
            yield figure(f"engine srtp delay p99, half load{', CPUs awake' if awake else ''}", half, outcomes)


def rounds(bench: Bench, calls: int, ways: Sequence[bool]) -> dict[bool, list[Passed]]:
    """ROUNDS of each way in turns, without those for which the machine had no time. ways: whether CPUs are awake."""
    found: dict[bool, list[Passed]] = {awake: [] for awake in ways}
    for _ in range(ROUNDS):
        for awake in ways:
            found[awake] += attempt(bench, calls, awake)
    return found


def figure(name: str, calls: int, outcomes: Sequence[Passed]) -> Figure:
    """The best of the rounds; TooFew where there is none."""
    if not outcomes:
        raise TooFew(f"{calls} calls: packets were lost in each of {ROUNDS} rounds")
    best = min(outcomes, key=lambda outcome: outcome.within(0.99))
    median, most, nearly_all = (best.within(part) / 1000 for part in (0.5, 0.95, 0.99))
    how = (
        f"AF_XDP, SCHED_RR, {calls} calls, CPU {best.load:.0%} busy, {best.timed} packets timed as they reach the "
        f"peer's interface, {best.lost} lost: median {median:.2f} ms, 95 % within {most:.2f}; best of {len(outcomes)}; "
        f"the relay waited for a CPU for {best.waited:.1%} of the time"
    )
    return Figure(name, nearly_all, "ms", "<=", GOAL_MS, how)


def attempt(bench: Bench, calls: int, awake: bool) -> list[Passed]:
    """One round; none where the machine had no time for it."""
    start = partial(ours_wired, bench.outside, True, awake=awake)
    with start(bench.relay, RELAY_CPU, bench.folder, calls, True) as relay:
        mac = identity(bench.relay, RELAY_LINK)[1].hex()
        words = [SECONDS, calls, FIRST_PEER_PORT, PEER_LINK, mac, RELAY, CALLER, CALLED, SUITE_NUMBER, MASTER.hex()]
        words += [port for pair in relay.ports for port in pair]
        schedule, received, delays = relay.schedule(), bench.received(), bench.delays()
        with inside(bench.outside), on_cpu(PEERS_CPU):
            told = run("chrt", "--rr", "1", f"{bench.folder}/many", *map(str, words))
        after, arrived = relay.schedule(), bench.received() - received
        timed = [now - before for now, before in zip(bench.delays(), delays, strict=True)]
    sent, refused = map(int, told.split())
    if refused or arrived < LEAST_ARRIVED * sent:
        return []
    ran, waited = after.ran - schedule.ran, after.waited - schedule.waited
    return [Passed(timed, ran / SECONDS, waited / SECONDS, sent - arrived)]
