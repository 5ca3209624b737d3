# SPDX-License-Identifier: GPL-3.0-or-later
"""What the flow table costs the controller."""

import statistics
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ctl.kernel.flowrule import Endpoint
from ctl.kernel.flowtable import IndexedRule
from tests.bench.figures import Figure
from tests.bench.rig import FIRST_PORT, FLOW_MAPS, Relay, rule

ROUNDS = 9
INSTALLED, READ = 10_000, 20_000
MILLISECOND, MICROSECOND = 1000, 1_000_000


def measure() -> Iterator[Figure]:
    relay = Relay("10.0.0.1")
    a, b = ("192.0.2.10", 4000), ("198.51.100.20", 6000)
    ports = range(FIRST_PORT, FIRST_PORT + INSTALLED, 2)
    pairs = [(towards(a, port, port + 1, b), towards(b, port + 1, port, a)) for port in ports]
    how = "FlowTable.write_pairs over as many that are on"
    yield timed(f"{INSTALLED} flows installed", lambda: relay.table.write_pairs(pairs), 20, how)
    yield from one_pair(relay, pairs)
    indexes = array("I", range(FIRST_PORT, FIRST_PORT + READ))
    yield timed(f"statistics of {READ} flows read", lambda: relay.table.columns(indexes), 1, "FlowTable.columns, mmap")
    maps = [relay.object.map(name) for name in FLOW_MAPS]
    size, entries = sum(each.value_size for each in maps), maps[0].max_entries
    how = f"{' and '.join(FLOW_MAPS)}, {entries} entries each: {size * entries >> 20} MiB for each relay address"
    yield Figure("memory per port", float(size), "bytes", "<=", 384, how)


def towards(source: Endpoint, port: int, partner: int, target: Endpoint) -> IndexedRule:
    """One direction of a pair; the other is at the port `partner`."""
    return port, replace(rule(source, ("10.0.0.1", partner), target, 1, bytes(12)), partner=partner)


def one_pair(relay: Relay, pairs: Sequence[tuple[IndexedRule, IndexedRule]]) -> Iterator[Figure]:
    began = time.thread_time()
    for first, second in pairs:
        relay.table.write_pair(first, second)
    each = (time.thread_time() - began) * MICROSECOND / len(pairs)
    yield Figure("one pair of flows written", each, "us", "<=", 8, f"FlowTable.write_pair, mean of {len(pairs)}")


def timed(name: str, action: Callable[[], object], goal: float, how: str) -> Figure:
    """Milliseconds of this thread's own time, median: nothing here waits for anybody."""
    taken = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        action()
        taken.append((time.thread_time() - began) * MILLISECOND)
    return Figure(name, statistics.median(taken), "ms", "<=", goal, f"{how}; median of {ROUNDS}")
