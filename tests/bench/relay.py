# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of the kernel relay: its own cost, the way through veth, and the flow table."""

from collections.abc import Iterator

from tests.bench import cost, table, ways, wire
from tests.bench.figures import Figure


def measure() -> Iterator[Figure]:
    yield from cost.measure()
    yield from ways.measure()
    yield from table.measure()
    yield from wire.measure()
