# SPDX-License-Identifier: GPL-3.0-or-later
"""What a packet costs in the engine, by AF_XDP and by sockets, beside rtpengine's userspace daemon; memory; delay."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.bench import codecs, delay, transcoding
from tests.bench.carrying import ROUNDS, Bench, Outcome, Start, in_turns
from tests.bench.figures import Figure
from tests.bench.lab import run
from tests.bench.userspace import ours, ours_wired, rtpengine

CALLS = {"af_xdp": 500, "sockets": 300, "rtpengine": 150}
"""Calls of 100 packets a second, so that each relay has about a quarter of its CPU to do."""
GOALS = {"srtp": {"af_xdp": 3.0, "sockets": 3.0}, "relay": {"af_xdp": 1.3, "sockets": 1.3}}
RING_PAIRS, RING_ROUNDS = 600, 3
MANY_CALLS = 1000


def measure() -> Iterator[Figure]:
    """Yield the figures of SRTP, plain relaying, memory, delay and transcoding."""
    with Bench() as bench:
        secured = carried(bench, secured=True)
        yield from compare(secured, "srtp")
        yield from compare(carried(bench, secured=False), "relay")
        empty, full = bench.memory(0), bench.memory(MANY_CALLS)
        yield compare_rings(bench)
        yield from transcoding.measure(bench)
    how = f"proportional set size of all processes, {MANY_CALLS} calls SRTP↔RTP with RTCP, after a second of talk"
    yield Figure("engine memory per call", (full - empty) / MANY_CALLS / 1000, "kB", "<=", 25.0, how)
    yield Figure("engine memory", full / 1e6, "MB", "<=", 250.0, how)
    yield from delay.measure(secured["af_xdp"].rate)
    yield from codecs.measure()


def compare_rings(bench: Bench) -> Figure:
    """A bare socket relay by epoll over the same by io_uring: beyond the goal, the choice of epoll is to be revised."""
    program = bench.folder / "rings"
    source = Path(__file__).with_name("rings.c")
    run("gcc", "-std=gnu11", "-O2", "-D_GNU_SOURCE", "-pthread", "-o", str(program), str(source))
    ways: dict[str, list[float]] = {"epoll": [], "uring": []}
    for _ in range(RING_ROUNDS):
        for way, found in ways.items():
            words = run("prlimit", "--nofile=20000:20000", str(program), way, str(RING_PAIRS), "50", "2").split()
            found.append(float(words[0]) / 1000)
    epoll, uring = (min(found) for found in ways.values())
    how = (
        f"{RING_PAIRS} sockets at 50 packets a second on loopback: epoll {epoll:.2f} µs a packet, io_uring {uring:.2f}"
    )
    return Figure("engine io_uring gain", epoll / uring, "×", "<=", 1.5, how)


def carried(bench: Bench, secured: bool) -> dict[str, Outcome]:
    """The best of some rounds of each relay, turn by turn."""
    relays: dict[str, Start] = {
        "af_xdp": partial(ours_wired, bench.outside, False),
        "sockets": ours,
        "rtpengine": rtpengine,
    }
    found = in_turns({name: partial(bench.carry, start, CALLS[name], secured) for name, start in relays.items()})
    return {name: max(outcomes, key=lambda outcome: outcome.rate) for name, outcomes in found.items()}


def compare(best: dict[str, Outcome], what: str) -> Iterator[Figure]:
    """Yield packets per CPU second of ours over theirs."""
    cost = {name: f"{1e6 / outcome.rate:.2f} µs" for name, outcome in best.items()}
    for io, goal in GOALS[what].items():
        how = f"CPU of all threads, best of {ROUNDS} in turns: {cost[io]} a packet, rtpengine {cost['rtpengine']}"
        how += bound(best[io], best["rtpengine"])
        yield Figure(f"engine {what} by {io} / rtpengine", best[io].rate / best["rtpengine"].rate, "×", ">=", goal, how)


def bound(ours_: Outcome, theirs: Outcome) -> str:
    """What the kernel's share of our packets allows, whatever else is saved."""
    kernel = ours_.kernel / ours_.rate
    return f"; {ours_.kernel:.0%} of ours is the kernel's, which alone allows {1 / (kernel * theirs.rate):.1f} ×"
