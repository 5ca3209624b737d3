# SPDX-License-Identifier: GPL-3.0-or-later
"""What the relay costs by itself, under BPF_PROG_TEST_RUN."""

import struct
import time
from collections.abc import Iterator

from ctl.kernel.libbpf import Map, Program
from tests.bench.figures import Figure
from tests.bench.rig import FIRST_PORT, Relay, baseline, frame, rule

ROUNDS = 15
REPEAT = 1_000_000
SOURCE, RELAY = ("192.0.2.10", 4000), "10.0.0.1"
INGRESS = 1
XDP_TX = 3


def measure() -> Iterator[Figure]:
    relay = Relay(RELAY)
    for port in range(FIRST_PORT, FIRST_PORT + 50_000):
        # What comes out is what came in, but for TTL and DSCP: a test run hands its output in again.
        relay.table.write(port, rule(SOURCE, SOURCE, (RELAY, port), INGRESS, bytes(12)))
    yield compare(relay.program, 1, 3.0)
    yield compare(relay.program, 50_000, 3.5)


def compare(relay: Program, flows: int, goal: float) -> Figure:
    """Rounds of: empty program alone, and wrapper with empty program, relay, and the least program; best rounds.

    The wrapper makes the packet of the next flow and calls the program in question. Its own cost is what it
    adds to the empty program, and is taken off the others. `least` only reads the clock and touches as many
    lines of as many flows: what of the cost is the machine's memory rather than the relay's doing.
    """
    programs = baseline(flows, SOURCE, RELAY)
    spread, empty, following = programs.program("spread"), programs.program("empty_tx"), programs.map("next")
    called = (empty, relay, programs.program("least"))
    packet = frame(SOURCE, (RELAY, FIRST_PORT))
    rounds = [(run(empty, packet), *(run(spread, packet, following, each) for each in called)) for _ in range(ROUNDS)]
    alone, wrapper, wrapped, bare = (min(column) for column in zip(*rounds, strict=True))
    value, least = ((each - wrapper + alone) / alone for each in (wrapped, bare))
    how = (
        f"test_run, best of {ROUNDS} x {REPEAT}: ({wrapped:.1f} relay - {wrapper:.1f} wrapper + {alone:.1f})"
        f" / {alone:.1f} ns; clock and two cache lines of each flow alone: {least:.2f} x"
    )
    return Figure(f"relay / empty XDP_TX, flows: {flows}", value, "x", "<=", goal, how)


def run(program: Program, packet: bytes, following: Map | None = None, called: Program | None = None) -> float:
    """Nanoseconds of one run, of this thread's own time: the kernel's figure is cut to whole nanoseconds."""
    if following and called:
        following.update(bytes(4), struct.pack("=I", called.fd))
    return (timed(program, packet, 1 + REPEAT) - timed(program, packet, 1)) / REPEAT


def timed(program: Program, packet: bytes, repeat: int) -> int:
    began = time.thread_time_ns()
    result = program.test_run(packet, repeat=repeat)
    if result.retval != XDP_TX:
        raise RuntimeError(
            f"the measured program ended with verdict {result.retval}, not XDP_TX: rebuild by scripts/setup"
        )
    return time.thread_time_ns() - began
