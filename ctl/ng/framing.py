# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages on the wire: `COOKIE SP DOCUMENT`, the document a dictionary in bencode or JSON.

A datagram is one message. On a stream they follow one another without any mark between them: where one ends is known
from reading it, in both encodings. Blanks and line ends between messages are skipped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from ctl.ng import bencode
from ctl.ng.errors import Dropped, Malformed

Encoding = Literal["bencode", "json"]

MAX_MESSAGE = 65536
MAX_COOKIE = 255
MAX_DATAGRAM = 65507
"""What a UDP datagram can carry over IPv4."""

_BLANK = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class Message:
    """One request. document: as it came; `read` turns it into a dictionary."""

    cookie: bytes
    document: bytes

    @property
    def encoding(self) -> Encoding:
        """That of the document, and so of its reply; bencode where it is neither."""
        return "json" if self.document[:1] == b"{" else "bencode"

    def read(self) -> dict[str, Any]:
        """Return the dictionary. Raises Malformed."""
        return read(self.document)

    def reply(self, dictionary: dict[str, Any]) -> bytes:
        """Return the reply as it goes on the wire, in the request's encoding and under its cookie."""
        return self.cookie + b" " + write(dictionary, self.encoding)


def split(datagram: bytes) -> Message:
    """Return the message that a datagram holds. Raises Dropped for what cannot be answered."""
    cookie, blank, document = datagram.partition(b" ")
    if not cookie or not blank or len(cookie) > MAX_COOKIE:
        raise Dropped("no cookie")
    return Message(cookie, document)


def read(document: bytes) -> dict[str, Any]:
    """Return the dictionary of a document in either encoding. Raises Malformed."""
    if len(document) > MAX_MESSAGE:
        raise Malformed(f"the message is longer than {MAX_MESSAGE} bytes")
    match document[:1]:
        case b"d":
            found = bencode.decode(document)
        case b"{":
            found = _read_json(document)
        case _:
            raise Malformed("Invalid data (no payload)" if not document else "Invalid NG data format")
    assert isinstance(found, dict)
    return found


def write(dictionary: dict[str, Any], encoding: Encoding) -> bytes:
    """Return the document of a dictionary."""
    if encoding == "bencode":
        return bencode.encode(dictionary)
    return json.dumps(dictionary, separators=(",", ":"), default=_surrogates).encode("utf-8", "surrogateescape")


class Splitter:
    """Cuts a stream into messages."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Take what has come in; return the messages that are complete. Raises Malformed: the stream is lost then."""
        self._data += data
        found = []
        while (message := self._next()) is not None:
            found.append(message)
        if len(self._data) > MAX_MESSAGE + MAX_COOKIE:
            raise Malformed(f"the message is longer than {MAX_MESSAGE} bytes")
        return found

    def _next(self) -> Message | None:
        data = bytes(self._data.lstrip(_BLANK))
        cookie, blank, document = data.partition(b" ")
        if len(cookie) > MAX_COOKIE:
            raise Malformed("no cookie")
        if not cookie or not blank or not document:
            return None
        end = _end(document)
        if end is None:
            return None
        self._data = bytearray(document[end:])
        return Message(cookie, document[:end])


def _end(document: bytes) -> int | None:
    """Return where the value that `document` begins with ends, None while that is still to come."""
    if document[:1] == b"{":
        return _end_of_json(document)
    try:
        return bencode.decode_prefix(document)[1]
    except bencode.Truncated:
        return None


def _end_of_json(document: bytes) -> int | None:
    """Braces and brackets outside of strings tell; whether what they hold is JSON is found out by reading it."""
    depth, place, quoted = 0, 0, False
    while place < len(document):
        byte = document[place]
        if quoted:
            place += byte == 0x5C  # a backslash: the next byte is no end
            quoted = byte != 0x22
        elif byte == 0x22:
            quoted = True
        elif byte in b"{[":
            depth += 1
        elif byte in b"}]":
            depth -= 1
            if depth == 0:
                return place + 1
        place += 1
    return None


def _read_json(document: bytes) -> Any:
    try:
        text = document.decode("utf-8", "surrogateescape")
        found = json.loads(text, object_pairs_hook=_unique, parse_int=_integer, parse_constant=_no_number)
        if "\\u" in text:
            _check_letters(found)
    except (ValueError, RecursionError) as error:
        raise Malformed("the message is no JSON object") from error
    _check_depth(found, 0)
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice")
    return found


def _integer(text: str) -> int:
    if len(text) > bencode.MAX_DIGITS + 1:
        raise ValueError("integer too long")
    return int(text)


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _check_depth(value: Any, depth: int) -> None:
    if depth > bencode.MAX_DEPTH:
        raise Malformed(f"nested deeper than {bencode.MAX_DEPTH}")
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in inner:
        _check_depth(item, depth + 1)


def _check_letters(value: Any) -> None:
    """Raise ValueError for half of a letter, written as such (`\\ud83d`): no encoding has it, to reply in."""
    if isinstance(value, str):
        value.encode("utf-8", "surrogateescape")
    elif isinstance(value, dict):
        _check_letters([*value, *value.values()])
    elif isinstance(value, list):
        for item in value:
            _check_letters(item)


def _surrogates(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    raise TypeError(f"{type(value).__name__} has no JSON")
