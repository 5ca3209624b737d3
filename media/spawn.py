# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting the engine's process so that it outlives whoever starts it, and hearing how that went."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from media.flows import EngineError

READY = b"ready\n"
"""What the engine writes to its --ready descriptor; or else the code of an error, a space and its text."""
READY_DESCRIPTOR = 3


def spawn(
    path: Path, python: str, arguments: Sequence[str], log: Path | None, timeout: float, module: str = "media.process"
) -> int:
    """Start an engine in a session of its own, so that it outlives us; its process id once it listens.

    module: what to run in its place, if it takes the same --socket and --ready.
    """
    reader, writer = os.pipe()
    command = [python, "-P", "-m", module, "--socket", str(path), "--ready", str(READY_DESCRIPTOR)]
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, str(log or os.devnull), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600),
        (os.POSIX_SPAWN_DUP2, writer, READY_DESCRIPTOR),
    ]
    try:
        pid = os.posix_spawn(python, [*command, *arguments], environment(), file_actions=actions, setsid=True)
    except OSError as error:
        os.close(reader)
        if log and log.exists() and not os.access(log, os.W_OK):
            remedy = f"run: chown {os.geteuid()} {log}"
            raise EngineError("system", f"{log} is closed to user id {os.geteuid()}; {remedy}") from None
        raise EngineError("system", f"{python} cannot be started: {error.strerror}") from None
    finally:
        os.close(writer)
    try:
        expect_ready(reader, pid, timeout)
    finally:
        os.close(reader)
    return pid


def tell(descriptor: int | None, text: bytes) -> None:
    """Say how starting went to whoever started us, and close the descriptor."""
    if descriptor is None:
        return
    with suppress(OSError):
        os.write(descriptor, text)
    with suppress(OSError):
        os.close(descriptor)


def environment() -> dict[str, str]:
    """Ours, with the place where this package was found."""
    place = str(Path(__file__).resolve().parent.parent)
    inherited = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{place}:{inherited}" if inherited else place}


def expect_ready(reader: int, pid: int, timeout: float) -> None:
    """Wait until the engine says that it listens; end it if it does not. Raises EngineError."""
    text = read_all(reader, time.monotonic() + timeout)
    if text == READY:
        return
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    code, _, why = text.decode(errors="replace").partition(" ")
    late = f"it did not say within {timeout:g} s that it listens"
    raise EngineError(code or "system", f"the engine did not start: {why or late}")


def read_all(reader: int, until: float) -> bytes:
    """What is written until the other side closes, or the time is over."""
    text = b""
    while wait_readable(reader, max(0.0, until - time.monotonic())):
        some = os.read(reader, 4096)
        if not some:
            break
        text += some
    return text


def wait_readable(descriptor: int, timeout: float | None) -> bool:
    """Whether it can be read within `timeout` seconds."""
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN | select.POLLHUP)
    return bool(waiting.poll(None if timeout is None else timeout * 1000))


def reap(descriptor: int) -> None:
    """Take the exit status, if the process was our child."""
    with suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, descriptor, os.WEXITED | os.WNOHANG)
