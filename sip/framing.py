# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages cut from a stream by Content-Length, and the keepalives between them (RFC 3261 §18.3, RFC 5626 §4.4.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sip.errors import ParseError
from sip.parser import MAX_MESSAGE, salvage

PONG = b"\r\n"
"""What answers a ping, which is an empty line and one more."""

_PING = b"\r\n\r\n"
_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\n(?:Content-Length|l)[ \t]*+:((?>(?:[^\r\n]|\r\n[ \t])*))", re.IGNORECASE)


class Framer:
    """Bytes of one connection in, whole messages out. After a ParseError the connection must be closed."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._needed = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Messages complete by now, in order; b"" stands for a ping, to be answered with PONG.

        Raises ParseError behind the last good one: 400 without exactly one readable Content-Length, 513 beyond 64 KiB;
        `partial` is what an answer needs.
        """
        self._buffer += data
        while (frame := self._next()) is not None:
            yield frame

    @property
    def waiting(self) -> int:
        """Bytes of a message that is not complete yet."""
        return len(self._buffer)

    def _next(self) -> bytes | None:
        if self._needed == 0:
            if self._skip_line_ends():
                return b""
            self._needed = self._measure()
        if self._needed == 0 or len(self._buffer) < self._needed:
            return None
        frame = bytes(self._buffer[: self._needed])
        del self._buffer[: self._needed]
        self._needed = self._searched = 0
        return frame

    def _skip_line_ends(self) -> bool:
        """Whether a ping was taken off the front; a lone empty line before a message is dropped (§7.5)."""
        if self._buffer[:4] == _PING:
            del self._buffer[:4]
            return True
        if self._buffer[:2] == b"\r\n" and len(self._buffer) > 2 and self._buffer[2] != 13:
            del self._buffer[:2]
        return False

    def _measure(self) -> int:
        """Length of the message at the front; 0 while its header section has no end yet."""
        if self._buffer[:1] == b"\r":
            if not _PING.startswith(self._buffer[: len(_PING)]):
                raise self._refusal(400, "Bare CR or LF")
            return 0
        end = self._buffer.find(_END, self._searched)
        if end < 0:
            self._searched = max(0, len(self._buffer) - 3)
            self._limit(len(self._buffer))
            return 0
        lengths = _LENGTH.findall(self._buffer, 0, end + 2)
        length = lengths[0].strip() if len(lengths) == 1 else b""
        if not length.isdigit() or len(length) > 9:
            raise self._refusal(400, "One Content-Length Needed On A Stream")
        total = end + len(_END) + int(length)
        self._limit(total)
        return total

    def _limit(self, size: int) -> None:
        if size > MAX_MESSAGE:
            raise self._refusal(513, "Message Too Large")

    def _refusal(self, status: int, reason: str) -> ParseError:
        return ParseError(status, reason, salvage(bytes(self._buffer[:MAX_MESSAGE])))
