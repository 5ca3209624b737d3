# SPDX-License-Identifier: GPL-3.0-or-later
"""Which counts of which nonces have been used, in a table of one size for ever, that several processes may share.

A nonce has its place in one bucket of the table, by a hash that only we can make. A full bucket forgets what has
expired or else the oldest nonce, and from then on takes none that is as old and not there: what is forgotten cannot be
replayed.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from mmap import mmap
from struct import Struct

WINDOW = 64
"""Counts that may still arrive out of order behind the highest one seen."""
BUCKETS = 4096
ROWS = 15
BUCKET_BYTES = 512
_KEYS = Struct(f"={1 + ROWS}Q")
"""The age beyond which no unknown nonce is taken, in milliseconds of issue, and the keys of the rows, 0 being free."""
_KEY = Struct("=Q")
_ROW = Struct("=QQQ")
"""When the nonce was issued, its highest count, and the counts seen: bit 0 is the highest, bit 1 the one below."""


class Counters:
    """table: of zeros at first, any number of buckets. lock: held while it is changed."""

    def __init__(
        self, table: bytearray | mmap | None = None, lock: AbstractContextManager[object] | None = None
    ) -> None:
        self._table = mmap(-1, BUCKETS * BUCKET_BYTES) if table is None else table
        self._buckets = len(self._table) // BUCKET_BYTES
        self._lock = lock or nullcontext()

    def take(self, key: int, issued: int, count: int, oldest: int) -> bool:
        """Whether this is the first use of a nonce with this count; it is used up then.

        key: of the nonce, 64 random bits. issued: when it was, in milliseconds; oldest: when those were that expire
        now.
        """
        at = key % self._buckets * BUCKET_BYTES
        with self._lock:
            floor, *keys = _KEYS.unpack_from(self._table, at)
            if key in keys:
                row = self._row(at, keys.index(key))
                _, highest, seen = _ROW.unpack_from(self._table, row)
            elif issued <= floor:
                return False
            else:
                row, highest, seen = self._make(at, key, keys, floor, oldest), 0, 0
            if count > highest:
                seen = (seen << min(count - highest, WINDOW) | 1) & (1 << WINDOW) - 1
                highest = count
            else:
                bit = 1 << highest - count if highest - count < WINDOW else 0
                if not bit or seen & bit:
                    return False
                seen |= bit
            _ROW.pack_into(self._table, row, issued, highest, seen)
        return True

    def _make(self, at: int, key: int, keys: list[int], floor: int, oldest: int) -> int:
        """A row for a nonce that is not there yet."""
        if 0 in keys:
            place = keys.index(0)
        else:
            ages = [_ROW.unpack_from(self._table, self._row(at, place))[0] for place in range(ROWS)]
            place = ages.index(min(ages))
            if ages[place] >= oldest:
                _KEY.pack_into(self._table, at, max(floor, ages[place]))
        _KEY.pack_into(self._table, at + _KEY.size * (1 + place), key)
        return self._row(at, place)

    def _row(self, at: int, place: int) -> int:
        return at + _KEYS.size + place * _ROW.size
