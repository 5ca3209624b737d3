# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line's side of the control socket. Imports nothing heavy: it is on the path of every command."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctl.exits import DENIED, TIMED_OUT, UNREACHABLE

SOCKET_NAME = "control.sock"
CHUNK = 1 << 18


class CommandError(Exception):
    """A command failed: one line for standard error and the exit code."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


def ask_raw(directory: Path, verb: str, arguments: Mapping[str, Any], seconds: float) -> bytes:
    """Send one request to the controller whose sockets are in `directory`; return the result as JSON text.

    Raises CommandError.
    """
    path = directory / SOCKET_NAME
    request = json.dumps({"verb": verb, "arguments": arguments}).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(seconds)
            connection.connect(str(path))
            connection.sendall(request)
            head, _, body = _read_all(connection).partition(b"\n")
    except TimeoutError:
        raise CommandError(f"no answer from the controller within {seconds:g} s", TIMED_OUT) from None
    except PermissionError:
        raise CommandError(f"{path}: permission denied; run as the controller's user or root", DENIED) from None
    except OSError:
        raise CommandError(f"no controller at {path}; start it with: voxdp run", UNREACHABLE) from None
    if not head:
        raise CommandError("the controller closed the connection; see its log", UNREACHABLE)
    answer = json.loads(head)
    if answer["code"]:
        raise CommandError(answer["error"], answer["code"])
    return body


def _read_all(connection: socket.socket) -> bytes:
    chunks = []
    while chunk := connection.recv(CHUNK):
        chunks.append(chunk)
    return b"".join(chunks)
