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

LENGTH_DIGITS = 7

_INTEGER = re.compile(rf"i(-?[0-9]{{1,{MAX_DIGITS}}})e")
_INTEGER_BEGUN = re.compile(rf"i-?[0-9]{{0,{MAX_DIGITS}}}")
_LENGTH_BEGUN = re.compile(rf"[0-9]{{0,{LENGTH_DIGITS}}}")


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
    parts: list[str] = []
    _encode(value, parts)
    return "".join(parts).encode("utf-8", "surrogateescape")


class _Reader:
    """One document. A value is told by its first byte; the lengths of strings and integers by what ends them.

    Read as text of a character for each byte, which is taken apart far quicker than bytes that are decoded one by one.
    """

    def __init__(self, data: bytes, place: int) -> None:
        self.text = data.decode("latin-1")
        self.place = place
        self._ascii = data.isascii()
        self._items = 0

    def value(self, depth: int) -> Any:
        self._items += 1
        if depth > MAX_DEPTH:
            raise Malformed(f"nested deeper than {MAX_DEPTH}")
        if self._items > MAX_ITEMS:
            raise Malformed(f"more than {MAX_ITEMS} values")
        match self._first():
            case "i":
                return self._integer()
            case "l":
                return self._list(depth)
            case "d":
                return self._dictionary(depth)
            case _:
                return self._string()

    def _first(self) -> str:
        first = self.text[self.place : self.place + 1]
        if not first:
            raise Truncated("the document ends early")
        return first

    def _integer(self) -> int:
        match = _INTEGER.match(self.text, self.place)
        if match is None:
            raise self._incomplete(_INTEGER_BEGUN, "integer")
        self.place = match.end()
        return int(match[1])

    def _string(self) -> str:
        text, place = self.text, self.place
        colon = text.find(":", place, place + LENGTH_DIGITS + 1)
        length = text[place:colon]
        if colon < 0 or not length.isdecimal():
            raise self._incomplete(_LENGTH_BEGUN, "string")
        end = colon + 1 + int(length)
        if end > len(text):
            raise Truncated("a string ends early")
        self.place = end
        found = text[colon + 1 : end]
        return found if self._ascii else found.encode("latin-1").decode("utf-8", "surrogateescape")

    def _list(self, depth: int) -> list[Any]:
        self.place += 1
        found = []
        while self._first() != "e":
            found.append(self.value(depth + 1))
        self.place += 1
        return found

    def _dictionary(self, depth: int) -> dict[str, Any]:
        self.place += 1
        found: dict[str, Any] = {}
        while self._first() != "e":
            key = self._string()
            if key in found:
                raise Malformed(f"key {key[:40]!r} twice")
            found[key] = self.value(depth + 1)
        self.place += 1
        return found

    def _incomplete(self, beginning: re.Pattern[str], what: str) -> Malformed:
        """What may still become an integer or a string is truncated, not wrong."""
        match = beginning.match(self.text, self.place)
        if match and match.end() == len(self.text):
            return Truncated(f"{what} ends early")
        return Malformed(f"no {what} at byte {self.place}")


def _encode(value: Any, parts: list[str]) -> None:
    """By exact type, for replies are large and have nothing else in them; what most values are comes first."""
    kind = type(value)
    if kind is str:
        parts.append(_string(value))
    elif kind is int or kind is bool:
        parts.append(f"i{value:d}e")
    elif kind is dict:
        _encode_dictionary(value, parts)
    elif kind is list or kind is tuple:
        parts.append("l")
        for item in value:
            _encode(item, parts)
        parts.append("e")
    elif kind is bytes:
        parts.append(f"{len(value)}:{value.decode('utf-8', 'surrogateescape')}")
    elif kind is float:
        parts.append(f"i{round(value)}e")
    else:
        raise TypeError(f"{kind.__name__} has no bencoding")


def _encode_dictionary(value: dict[str, Any], parts: list[str]) -> None:
    append = parts.append
    append("d")
    for key, item in value.items():
        kind = type(item)
        if kind is int:
            append(f"{_key(key)}i{item}e")
        elif kind is str and item.isascii():
            append(f"{_key(key)}{len(item)}:{item}")
        elif kind is dict:
            append(_key(key))
            _encode_dictionary(item, parts)
        else:
            append(_key(key))
            _encode(item, parts)
    append("e")


def _string(text: str) -> str:
    """The length is that of the bytes."""
    return f"{len(text) if text.isascii() else len(text.encode('utf-8', 'surrogateescape'))}:{text}"


_key = lru_cache(maxsize=1024)(_string)
"""Nearly all keys are the same few."""
