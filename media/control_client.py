# SPDX-License-Identifier: GPL-3.0-or-later
"""One question and one answer at a time over a control socket: what the clients of engine and recorder share."""

from __future__ import annotations

import json
import socket
import struct
from pathlib import Path
from typing import Any, Self

from media.flows import MESSAGE_BYTES, EngineError

TIMEOUT = 1.0
TIMEVAL = struct.Struct("ll")


class ControlClient:
    """Asks whoever listens at a path; each call takes well under a millisecond and blocks.

    Every method may raise EngineError, of code "gone" where nobody answers within `timeout` seconds. The next call
    connects again, maybe to another process. For one thread at a time. name, remedy: who it is, and what starts one.
    """

    name = "process"
    remedy = "start it"

    def __init__(self, path: Path, timeout: float = TIMEOUT) -> None:
        self.path = path
        self.timeout = timeout
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up. What goes on there goes on."""
        if self._socket:
            self._socket.close()
            self._socket = None

    def shutdown(self) -> None:
        """End the process, and with it all that it does."""
        self._ask("shutdown")

    def gone(self, why: str) -> EngineError:
        """Nobody answers."""
        remedy = self.remedy.format(path=self.path)
        return EngineError("gone", f"no {self.name} answers at {self.path} ({why}); {remedy}")

    def _ask(self, op: str, **members: Any) -> dict[str, Any]:
        message = json.dumps({"op": op, **members}, separators=(",", ":")).encode()
        try:
            connected = self._connected()
            connected.send(message)
            reply = connected.recv(4 * MESSAGE_BYTES)
        except OSError as error:
            self.close()  # a late reply must not answer the next request
            raise self._silent(error) from None
        if not reply:
            self.close()
            raise self.gone("it hung up")
        answer: dict[str, Any] = json.loads(reply)
        if not answer.pop("ok"):
            raise EngineError(answer["code"], answer["text"])
        return answer

    def _connected(self) -> socket.socket:
        if self._socket is None:
            fresh = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            limit_waits(fresh, self.timeout)
            try:
                fresh.connect(str(self.path))
            except OSError as error:
                fresh.close()
                raise self._silent(error) from None
            self._socket = fresh
        return self._socket

    def _silent(self, error: OSError) -> EngineError:
        late = isinstance(error, BlockingIOError)
        return self.gone(f"silent for {self.timeout:g} s" if late else error.strerror or str(error))


def limit_waits(blocking: socket.socket, seconds: float) -> None:
    """EAGAIN after that long. settimeout would have connect fail at once where the backlog is full (connect(2))."""
    limit = TIMEVAL.pack(int(seconds), int(seconds % 1 * 1_000_000))
    for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
        blocking.setsockopt(socket.SOL_SOCKET, option, limit)
