# SPDX-License-Identifier: GPL-3.0-or-later
"""A table of what was used lately, for next to nothing.

Two dictionaries, the younger and the older: what is used goes to the younger, and when that holds half of all that may
be held, it becomes the older one, whose entries go. An order by use would cost three times the memory.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Holds `capacity` entries at most, and at least half of that before one is forgotten that is in use."""

    __slots__ = ("_half", "_older", "_younger")

    def __init__(self, capacity: int) -> None:
        self._half = max(1, capacity // 2)
        self._younger: dict[K, V] = {}
        self._older: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self._younger) + len(self._older)

    def get(self, key: K) -> V | None:
        """What is held under `key`, which is used by that."""
        found = self._younger.get(key)
        if found is None and (found := self._older.pop(key, None)) is not None:
            self.put(key, found)
        return found

    def put(self, key: K, value: V) -> None:
        """Hold `value`, which is not None."""
        if len(self._younger) >= self._half and key not in self._younger:
            self._younger, self._older = {}, self._younger
        self._older.pop(key, None)
        self._younger[key] = value
