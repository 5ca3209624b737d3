# SPDX-License-Identifier: GPL-3.0-or-later
"""Sound that goes to somebody while it is said: a TCP or TLS connection for each leg of a call.

What the consumer reads is a text, ended by a zero byte, and then samples of 16 bits, least significant byte first. One
that is slow or away costs sound, which is counted, and no time: nothing here waits.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import time

from media.recording_settings import parse_destination

WAITING_BYTES = 1 << 18
"""Most sound that waits for a consumer: 16 s at 8 kHz."""
RETRY_SECONDS = 5.0
_UNDER_WAY = frozenset({0, errno.EINPROGRESS, errno.EALREADY})


class Forwarder:
    """One connection, made again where it is lost. ca: file of the certificates that the consumer's is to be signed by.

    trouble: why it is not up; empty if it is. dropped: bytes of sound that the consumer did not take in time.
    """

    def __init__(self, destination: str, intro: str, ca: str = "") -> None:
        """Raise ValueError for a destination that is none, OSError for certificates that cannot be read."""
        scheme, self._host, self._port = parse_destination(destination)
        self._tls = ssl.create_default_context(cafile=ca or None) if scheme == "tls" else None
        self._intro = intro.replace("\0", "").encode("utf-8", "surrogateescape") + b"\0"
        self._connection: socket.socket | None = None
        self._up = False
        self._waiting = bytearray()
        self._retry = 0.0
        self.trouble = ""
        self.dropped = 0

    def send(self, sound: bytes) -> None:
        """Send what was said as far as the consumer takes it; the rest waits, or is dropped."""
        room = WAITING_BYTES - len(self._waiting)
        self._waiting += sound[: max(room, 0) & ~1]
        self.dropped += max(len(sound) - max(room, 0), 0)
        try:
            self._go_on()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            pass
        except OSError as error:
            self._lost(error)

    def close(self) -> None:
        """End the connection."""
        if self._connection:
            self._connection.close()
        self._connection = None

    def _go_on(self) -> None:
        if self._connection is None:
            if time.monotonic() < self._retry:
                return
            self._connection = self._connect()
        if not self._up:
            self._shake()
        while self._waiting:
            sent = self._connection.send(self._waiting[:65536])
            del self._waiting[:sent]

    def _connect(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        made.setblocking(False)
        status = made.connect_ex((self._host, self._port))
        if status not in _UNDER_WAY:
            made.close()
            raise OSError(status, os.strerror(status))
        return made

    def _shake(self) -> None:
        """Go on with connecting, and the handshake of TLS. Raises BlockingIOError and its like until it is done."""
        assert self._connection is not None
        if not isinstance(self._connection, ssl.SSLSocket):
            status = self._connection.connect_ex((self._host, self._port))
            if status in _UNDER_WAY - {0}:
                raise BlockingIOError
            if status not in (0, errno.EISCONN):
                raise OSError(status, os.strerror(status))
            if self._tls:
                self._connection = self._tls.wrap_socket(
                    self._connection, server_hostname=self._host, do_handshake_on_connect=False
                )
        if isinstance(self._connection, ssl.SSLSocket):
            self._connection.do_handshake()
        self._up, self.trouble = True, ""
        self._waiting[:0] = self._intro

    def _lost(self, error: OSError) -> None:
        """The next connection begins with the text anew, and with what is said then."""
        self.close()
        self.trouble = f"{self._host}:{self._port}: {error.strerror or error}"
        self.dropped += len(self._waiting)
        self._waiting.clear()
        self._up, self._retry = False, time.monotonic() + RETRY_SECONDS
