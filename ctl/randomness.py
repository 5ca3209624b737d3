# SPDX-License-Identifier: GPL-3.0-or-later
"""Randomness that nobody can foresee, asked of the kernel for many draws at once: a call takes some twenty.

What was drawn ahead is in memory until it is used, so none of this may be used on both sides of a fork.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

AT_ONCE = 512
_DRAW = 8


def texts(size: int) -> Iterator[str]:
    """Yield random text of `size` bytes each, in hex."""
    length = 2 * size
    while True:
        block = os.urandom(size * (AT_ONCE // size)).hex()
        for place in range(0, len(block), length):
            yield block[place : place + length]


def numbers() -> Iterator[int]:
    """Yield whole numbers of 64 bits."""
    while True:
        block = os.urandom(AT_ONCE)
        for place in range(0, AT_ONCE, _DRAW):
            yield int.from_bytes(block[place : place + _DRAW], "big")


def dice() -> Callable[[int], int]:
    """Return a function of n that draws from 0 to n - 1, n being small against 2**64: as secrets.randbelow."""
    draw = numbers().__next__
    return lambda limit: draw() % limit


def fractions() -> Callable[[], float]:
    """Return a function that draws from 0.0 to 1.0, which it never is."""
    draw = numbers().__next__
    return lambda: (draw() >> 11) / (1 << 53)
