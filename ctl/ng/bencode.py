# SPDX-License-Identifier: GPL-3.0-or-later
"""Bencode as the ng protocol uses it: integers, byte strings, lists, dictionaries with keys in any order.

Strings become `str` with what is not UTF-8 kept as surrogates, so that any bytes come out again as they went in.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from ctl.ng.errors import Malformed

MAX_DEPTH = 16
MAX_DIGITS = 19
MAX_ITEMS = 4096
"""Values in one document."""

_INTEGER = re.compile(rb"i(-?[0-9]{1,%d})e" % MAX_DIGITS)
_INTEGER_BEGUN = re.compile(rb"i-?[0-9]{0,%d}" % MAX_DIGITS)
_LENGTH = re.compile(rb"([0-9]{1,7}):")
_LENGTH_BEGUN = re.compile(rb"[0-9]{0,7}")
END = 0x65


class Truncated(Malformed):
    """The document is right as far as it goes, and goes on: on a stream, the rest is to come."""


def decode(data: bytes) -> Any:
    """Return the one value that `data` is. Raises Malformed; Truncated where only the end is missing."""
    value, end = decode_prefix(data)
    if end != len(data):
        raise Malformed("bytes after the end of the document")
    return value


def decode_prefix(data: bytes, start: int = 0) -> tuple[Any, int]:
    """Return the value at `start`, and where it ends. Raises Malformed, Truncated."""
    reader = _Reader(data, start)
    return reader.value(0), reader.place


def encode(value: Any) -> bytes:
    """Return the bencoding of integers, booleans, strings, bytes, lists, tuples and dictionaries of these.

    Floating-point numbers are rounded: bencode has none. Keys keep their order.
    """
    parts: list[bytes] = []
    _encode(value, parts)
    return b"".join(parts)


class _Reader:
    """One document. A value is told by its first byte; the lengths of strings and integers by what ends them."""

    def __init__(self, data: bytes, place: int) -> None:
        self.data = data
        self.place = place
        self._items = 0

    def value(self, depth: int) -> Any:
        self._items += 1
        if depth > MAX_DEPTH:
            raise Malformed(f"nested deeper than {MAX_DEPTH}")
        if self._items > MAX_ITEMS:
            raise Malformed(f"more than {MAX_ITEMS} values")
        match self._first():
            case 0x69:
                return self._integer()
            case 0x6C:
                return self._list(depth)
            case 0x64:
                return self._dictionary(depth)
            case _:
                return self._string()

    def _first(self) -> int:
        if self.place >= len(self.data):
            raise Truncated("the document ends early")
        return self.data[self.place]

    def _integer(self) -> int:
        match = _INTEGER.match(self.data, self.place)
        if match is None:
            raise self._incomplete(_INTEGER_BEGUN, "integer")
        self.place = match.end()
        return int(match[1])

    def _string(self) -> str:
        match = _LENGTH.match(self.data, self.place)
        if match is None:
            raise self._incomplete(_LENGTH_BEGUN, "string")
        begin = match.end()
        end = begin + int(match[1])
        if end > len(self.data):
            raise Truncated("a string ends early")
        self.place = end
        return self.data[begin:end].decode("utf-8", "surrogateescape")

    def _list(self, depth: int) -> list[Any]:
        self.place += 1
        found = []
        while self._first() != END:
            found.append(self.value(depth + 1))
        self.place += 1
        return found

    def _dictionary(self, depth: int) -> dict[str, Any]:
        self.place += 1
        found: dict[str, Any] = {}
        while self._first() != END:
            key = self._string()
            if key in found:
                raise Malformed(f"key {key[:40]!r} twice")
            found[key] = self.value(depth + 1)
        self.place += 1
        return found

    def _incomplete(self, beginning: re.Pattern[bytes], what: str) -> Malformed:
        """What may still become an integer or a string is truncated, not wrong."""
        match = beginning.match(self.data, self.place)
        if match and match.end() == len(self.data):
            return Truncated(f"{what} ends early")
        return Malformed(f"no {what} at byte {self.place}")


def _encode(value: Any, parts: list[bytes]) -> None:
    """By exact type, for replies are large and have nothing else in them."""
    kind = type(value)
    if kind is str:
        raw = value.encode("utf-8", "surrogateescape")
        parts.append(b"%d:%b" % (len(raw), raw))
    elif kind is int or kind is bool:
        parts.append(b"i%de" % value)
    elif kind is dict:
        parts.append(b"d")
        for key, item in value.items():
            parts.append(_key(key))
            _encode(item, parts)
        parts.append(b"e")
    elif kind is list or kind is tuple:
        parts.append(b"l")
        for item in value:
            _encode(item, parts)
        parts.append(b"e")
    elif kind is bytes:
        parts.append(b"%d:%b" % (len(value), value))
    elif kind is float:
        parts.append(b"i%de" % round(value))
    else:
        raise TypeError(f"{kind.__name__} has no bencoding")


@lru_cache(maxsize=1024)
def _key(key: str) -> bytes:
    """Nearly all keys are the same few."""
    raw = key.encode("utf-8", "surrogateescape")
    return b"%d:%b" % (len(raw), raw)
