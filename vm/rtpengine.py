# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's rtpengine-daemon without its kernel module, and a client that asks it, or voxdp, by the ng protocol."""

from __future__ import annotations

import itertools
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ctl.ng import bencode
from vm import namespace
from vm.process import PATIENCE, LabError, Process

NG = ("127.0.0.1", 2223)


class NgClient:
    """Requests over UDP from inside a namespace, one at a time."""

    def __init__(self, where: str, address: tuple[str, int] = NG) -> None:
        with namespace.entered(where):
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(address)
        self._cookies = itertools.count()

    def ask(self, command: str, **keys: Any) -> dict[str, Any]:
        """Return the reply to a command; keys with underscores for hyphens. Raises LabError if none comes."""
        request = {"command": command, **{key.replace("_", "-"): value for key, value in keys.items()}}
        cookie = b"%d" % next(self._cookies)
        try:
            self._socket.send(cookie + b" " + bencode.encode(request))
            while True:
                answered, _, document = self._socket.recv(1 << 18).partition(b" ")
                if answered == cookie:
                    break
        except OSError as error:
            raise LabError(f"no reply to ng {command}: {error}") from None
        reply: dict[str, Any] = bencode.decode(document)
        return reply

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()


class Rtpengine:
    """The daemon in a namespace. interfaces: as its own option has them, such as `192.0.2.1` or `pub/192.0.2.1`."""

    def __init__(self, where: str, log: Path, interfaces: Sequence[str], *more: str) -> None:
        program = shutil.which("rtpengine")
        if program is None:
            raise LabError("rtpengine is not installed; run: scripts/setup tests")
        command = [
            *(program, "--foreground", "--log-stderr", "--log-level=3", "--table=-1", "--delete-delay=0"),
            *(f"--interface={each}" for each in interfaces),
            *(f"--listen-ng={NG[0]}:{NG[1]}", "--port-min=30000", "--port-max=59999", *more),
        ]
        self.process = Process(command, where, log, {"PATH": "/usr/bin:/bin"})
        self.client = NgClient(where)
        self._wait()

    @property
    def pid(self) -> int:
        """Process id of the daemon."""
        return self.process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the daemon."""
        self.client.close()
        self.process.stop()

    def _wait(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.client.ask("ping")
                return
            except LabError:
                if self.process.status is not None or time.monotonic() > deadline:
                    self.process.stop()
                    raise LabError(f"rtpengine does not answer: {self.process.last_line()}") from None
            time.sleep(0.05)


def version() -> str:
    """The daemon's own word of its version."""
    done = subprocess.run(["rtpengine", "--version"], capture_output=True, text=True)
    return (done.stdout + done.stderr).strip()
