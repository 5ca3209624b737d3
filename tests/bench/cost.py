# SPDX-License-Identifier: GPL-3.0-or-later
"""What the relay costs by itself, under BPF_PROG_TEST_RUN."""

import statistics
import struct
from collections.abc import Iterator

from ctl.libbpf import Map, Program
from tests.bench.figures import Figure
from tests.bench.rig import FIRST_PORT, Relay, baseline, frame, rule

ROUNDS = 15
REPEAT = 300_000
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
    """Rounds of: wrapper and relay, wrapper and empty program, empty program alone; medians.

    The wrapper makes the packet of the next flow and calls the program in question. Its own cost is what it
    adds to the empty program, and is taken off the relay.
    """
    programs = baseline(flows, SOURCE, RELAY)
    spread, empty, following = programs.program("spread"), programs.program("empty_tx"), programs.map("next")
    packet = frame(SOURCE, (RELAY, FIRST_PORT))
    rounds = [one_round(spread, following, relay, empty, packet) for _ in range(ROUNDS)]
    wrapped, wrapper, alone = (statistics.median(column) for column in zip(*rounds, strict=True))
    value = (wrapped - wrapper + alone) / alone
    how = (
        f"test_run, median of {ROUNDS} x {REPEAT}: ({wrapped:g} relay - {wrapper:g} wrapper + {alone:g}) / {alone:g} ns"
    )
    return Figure(f"relay / empty XDP_TX, flows: {flows}", value, "x", "<=", goal, how)


def one_round(spread: Program, following: Map, relay: Program, empty: Program, packet: bytes) -> tuple[int, int, int]:
    return (
        run(spread, packet, following, relay),
        run(spread, packet, following, empty),
        run(empty, packet),
    )


def run(program: Program, packet: bytes, following: Map | None = None, called: Program | None = None) -> int:
    """Nanoseconds of one run."""
    if following and called:
        following.update(bytes(4), struct.pack("=I", called.fd))
    result = program.test_run(packet, repeat=REPEAT)
    if result.retval != XDP_TX:
        raise RuntimeError(
            f"the measured program ended with verdict {result.retval}, not XDP_TX: rebuild by scripts/setup"
        )
    return result.duration_ns
