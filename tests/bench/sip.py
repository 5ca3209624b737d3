# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of signalling."""

from collections.abc import Iterator

from tests.bench import registrations
from tests.bench.figures import Figure


def measure() -> Iterator[Figure]:
    yield from registrations.measure()
