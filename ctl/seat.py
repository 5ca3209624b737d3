# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a process that serves keeps what is its own, and that there is one of it at a time."""

from __future__ import annotations

import ctypes
import fcntl
import gc
import os
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ctl.config import Config
from ctl.sessions.ports import WHOLE, PortShare


class ServiceError(Exception):
    """The controller cannot start; one line with the remedy."""


@dataclass(frozen=True, slots=True)
class Seat:
    """directory: of sockets and the lock; state: of journals; ports: the media ports that it may use.

    alone: whether nobody else serves the same calls; else much is done by the controller for all.
    """

    directory: Path
    state: Path
    ports: PortShare = WHOLE
    alone: bool = True

    @classmethod
    def of(cls, config: Config) -> Seat:
        """Return the seat of a controller without workers."""
        return cls(config.run.directory, config.run.state)

    @property
    def owner(self) -> str:
        """By what name what we have set is told from what others have, in the engine that all share."""
        return "" if self.alone else self.directory.name

    def take(self) -> IO[str]:
        """Make the directories and return the lock that one process at a time may have. Raises ServiceError."""
        for directory in (self.directory, self.state):
            try:
                directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            except FileExistsError:
                raise ServiceError(f"{directory} is no directory; remove it, or set another") from None
            except OSError as error:
                raise ServiceError(f"{directory}: {error.strerror}; create it for user id {os.geteuid()}") from None
            if not os.access(directory, os.W_OK | os.X_OK):
                raise ServiceError(
                    f"{directory} is closed to user id {os.geteuid()}; run: chown {os.geteuid()} {directory}"
                )
        return take_lock(self.directory / "run.lock")


def take_lock(path: Path) -> IO[str]:
    """Return the lock, with our process id in it. Raises ServiceError."""
    try:
        lock = path.open("a+")
    except OSError as error:
        raise ServiceError(f"{path}: {error.strerror}; run: chown -R {os.geteuid()} {path.parent}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip()
        lock.close()
        raise ServiceError(
            f"process {holder} is the controller of {path.parent}; stop it, or set run.directory"
        ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def open_many_files() -> None:
    """Have as many descriptors as we may: each connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def collect_rarely() -> None:
    """What is there by now stays; and of what messages make, hardly anything is a cycle: look for those seldom.

    What the start has used and freed goes back to the kernel.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
