# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of signalling."""

from collections.abc import Iterator

from tests.bench import calls, registrations, workers
from tests.bench.figures import Figure


def measure() -> Iterator[Figure]:
    yield from registrations.measure()
    yield from calls.measure()
    yield from workers.measure()
