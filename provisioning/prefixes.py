# SPDX-License-Identifier: GPL-3.0-or-later
"""Prices by prefix, a million of them in 12 MB: sorted arrays, searched once for each length that occurs.

A prefix of up to 15 digits is one integer: its digits padded with zeros to 15, times 16, plus its length.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable

DIGITS = 15


class PrefixPrices:
    """Prices in millionths of a currency unit by prefix. Made once, then constant."""

    __slots__ = ("_keys", "_lengths", "_prices")

    def __init__(self, entries: Iterable[tuple[str, int]] = ()) -> None:
        """entries: prefix and price, in any order; of the same prefix, one price counts."""
        self._keys, self._prices = array("Q"), array("I")
        for prefix, price in entries:
            self._keys.append(_key(prefix, len(prefix)))
            self._prices.append(price)
        self._sort()
        self._lengths = tuple(sorted({key & 15 for key in self._keys}, reverse=True))

    def __len__(self) -> int:
        return len(self._keys)

    def price(self, digits: str) -> int | None:
        """Return the price of the longest prefix of a number, E.164 without plus; None if none fits."""
        padded = int(digits[:DIGITS].ljust(DIGITS, "0"))
        known = len(digits)
        for length in self._lengths:
            if length > known:
                continue
            scale = _SCALES[length]
            key = (padded // scale * scale) << 4 | length
            place = bisect_left(self._keys, key)
            if place < len(self._keys) and self._keys[place] == key:
                return int(self._prices[place])
        return None

    def _sort(self) -> None:
        """Sort both arrays by key; what PostgreSQL sends by prefix is in that order already, but for a shorter one."""
        keys = self._keys
        if all(map(int.__le__, keys, keys[1:])):
            return
        order = sorted(range(len(keys)), key=keys.__getitem__)
        self._keys = array("Q", (keys[place] for place in order))
        self._prices = array("I", (self._prices[place] for place in order))


_SCALES: tuple[int, ...] = tuple(10 ** (DIGITS - length) for length in range(DIGITS + 1))


def _key(prefix: str, length: int) -> int:
    return int(prefix) * _SCALES[length] << 4 | length
