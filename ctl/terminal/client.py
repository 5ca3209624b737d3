# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line's side of the control socket. Imports nothing heavy: it is on the path of every command."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
    with _request(directory, verb, arguments, seconds) as connection, _troubles(directory, seconds):
        return _result(b"".join(_chunks(connection)))


@contextmanager
def hold(
    directory: Path, verb: str, arguments: Mapping[str, Any], seconds: float
) -> Iterator[tuple[Any, socket.socket]]:
    """Send a request whose result stands until this ends; yield it, and the connection, which ends with it.

    The connection becomes readable when the controller ends it. Raises CommandError.
    """
    with _request(directory, verb, arguments, seconds) as connection:
        with _troubles(directory, seconds):
            answer = b""
            while answer.count(b"\n") < 2 and (chunk := connection.recv(CHUNK)):
                answer += chunk
            result = json.loads(_result(answer))
        yield result, connection


@contextmanager
def _request(directory: Path, verb: str, arguments: Mapping[str, Any], seconds: float) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        with _troubles(directory, seconds):
            connection.settimeout(seconds)
            connection.connect(str(directory / SOCKET_NAME))
            connection.sendall(json.dumps({"verb": verb, "arguments": arguments}).encode() + b"\n")
        yield connection


@contextmanager
def _troubles(directory: Path, seconds: float) -> Iterator[None]:
    path = directory / SOCKET_NAME
    try:
        yield
    except TimeoutError:
        raise CommandError(f"no answer from the controller within {seconds:g} s", TIMED_OUT) from None
    except PermissionError:
        raise CommandError(f"{path}: permission denied; run as the controller's user or root", DENIED) from None
    except OSError:
        raise CommandError(f"no controller at {path}; start it with: voxdp run", UNREACHABLE) from None


def _result(answered: bytes) -> bytes:
    head, _, body = answered.partition(b"\n")
    if not head:
        raise CommandError("the controller closed the connection; see its log", UNREACHABLE)
    answer = json.loads(head)
    if answer["code"]:
        raise CommandError(answer["error"], answer["code"])
    return body


def _chunks(connection: socket.socket) -> Iterator[bytes]:
    while chunk := connection.recv(CHUNK):
        yield chunk
