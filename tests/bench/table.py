# SPDX-License-Identifier: GPL-3.0-or-later
"""What the flow table costs the controller."""

import statistics
import time
from array import array
from collections.abc import Callable, Iterator

from tests.bench.figures import Figure
from tests.bench.rig import FIRST_PORT, Relay, rule

ROUNDS = 9
INSTALLED, READ = 10_000, 20_000
MILLISECOND = 1000


def measure() -> Iterator[Figure]:
    relay = Relay("10.0.0.1")
    a, b = ("192.0.2.10", 4000), ("198.51.100.20", 6000)
    ports = range(FIRST_PORT, FIRST_PORT + INSTALLED)
    rules = [(port, rule(a, ("10.0.0.1", port), b, 1, bytes(12))) for port in ports]

    def install() -> None:
        for port, one in rules:
            relay.table.write(port, one)

    yield timed(f"{INSTALLED} flows installed", install, 20, "FlowTable.write, each with checksum deltas")
    indexes = array("I", range(FIRST_PORT, FIRST_PORT + READ))
    yield timed(f"statistics of {READ} flows read", lambda: relay.table.columns(indexes), 1, "FlowTable.columns, mmap")
    flows = relay.object.map("flows")
    total = flows.value_size * flows.max_entries >> 20
    how = f"array of {flows.max_entries} x {flows.value_size} bytes: {total} MiB for each relay address"
    yield Figure("memory per port", float(flows.value_size), "bytes", "<=", 256, how)


def timed(name: str, action: Callable[[], object], goal: float, how: str) -> Figure:
    """Milliseconds, median."""
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        action()
        taken.append((time.perf_counter() - began) * MILLISECOND)
    return Figure(name, statistics.median(taken), "ms", "<=", goal, f"{how}; median of {ROUNDS}")
