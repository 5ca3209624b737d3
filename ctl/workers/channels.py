# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls on trunks, counted in one file that all workers map: each in a column of its own, and together under a lock.

A worker that dies leaves its column, which its successor sets to the calls that it takes up.
"""

from __future__ import annotations

import struct
from collections import Counter
from hashlib import blake2s
from pathlib import Path

import structlog

from ctl.workers.shared import SharedMemory

COLUMNS = 16
TRUNKS = 4096
_KEY = 16
_COUNTS = struct.Struct(f"={COLUMNS}I")
_ROW = _KEY + _COUNTS.size
_EMPTY = bytes(_KEY)

log = structlog.get_logger()


class SharedChannels:
    """Implements `sip.sharing.Channels` for the worker of this number."""

    def __init__(self, path: Path, number: int) -> None:
        self._column = number
        self._memory = SharedMemory(path, TRUNKS * _ROW)
        self._table = self._memory.table
        with self._memory:
            for row in range(self._used()):
                self._set(row, 0)
        self._rows: dict[str, int | None] = {}
        self._beyond: Counter[str] = Counter()
        """Our own calls on trunks that found no row."""

    def calls(self, trunk: str) -> int:
        """See Channels."""
        row = self._row(trunk)
        return sum(self._counts(row)) if row is not None else self._beyond[trunk]

    def take(self, trunk: str, limit: int) -> bool:
        """See Channels."""
        if not limit:
            self.add(trunk, 1)
            return True
        row = self._row(trunk)
        with self._memory:
            if self.calls(trunk) >= limit:
                return False
            self._add(trunk, row, 1)
        return True

    def add(self, trunk: str, calls: int) -> None:
        """See Channels. Nobody else writes in our column, so that this needs no lock."""
        self._add(trunk, self._row(trunk), calls)

    def close(self) -> None:
        """Let go of the file; our calls are on."""
        self._memory.close()

    def _add(self, trunk: str, row: int | None, calls: int) -> None:
        if row is None:
            self._beyond[trunk] += calls
        else:
            self._set(row, max(0, self._counts(row)[self._column] + calls))

    def _counts(self, row: int) -> tuple[int, ...]:
        return _COUNTS.unpack_from(self._table, row * _ROW + _KEY)

    def _set(self, row: int, calls: int) -> None:
        struct.pack_into("=I", self._table, row * _ROW + _KEY + 4 * self._column, calls)

    def _row(self, trunk: str) -> int | None:
        """The row of a trunk, a new one where it has none yet; None where all are taken."""
        if trunk not in self._rows:
            self._rows[trunk] = self._find(blake2s(trunk.encode(), digest_size=_KEY).digest())
            if self._rows[trunk] is None:
                log.error("channels not shared: too many trunks", trunk=trunk, trunks=TRUNKS)
        return self._rows[trunk]

    def _find(self, key: bytes) -> int | None:
        with self._memory:
            for row in range(TRUNKS):
                found = self._table[row * _ROW : row * _ROW + _KEY]
                if found == _EMPTY:
                    self._table[row * _ROW : row * _ROW + _KEY] = key
                if found in (key, _EMPTY):
                    return row
        return None

    def _used(self) -> int:
        rows = range(TRUNKS)
        return next((row for row in rows if self._table[row * _ROW : row * _ROW + _KEY] == _EMPTY), TRUNKS)
