# SPDX-License-Identifier: GPL-3.0-or-later
"""Who opens for the engine what it may not, as a process that `voxdp attach` leaves behind and `voxdp detach` ends."""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

from media.control_socket import peer_credentials
from media.spawn import reap, spawn, wait_readable
from media.wire_opener import OpenerSettings

SECONDS = 5.0
"""How long starting or ending one may take."""


def start(settings: OpenerSettings, log: Path) -> int:
    """Have one run, in place of one that runs; its process id. log: file for its errors. Raises EngineError."""
    stop(settings.socket)
    whose = ["--uid", str(settings.uid), "--gid", str(settings.gid)]
    also = ["--cpu-latency"] if settings.cpu_latency else []
    arguments = [*whose, *also, *settings.interfaces]
    return spawn(settings.socket, sys.executable, arguments, log, SECONDS, module="media.wire_opener")


def stop(path: Path) -> None:
    """End the one that listens at `path`, if one does and it is of our user. What it has opened stays open."""
    process = listener_of(path)
    if process is None:
        return
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            signal.pidfd_send_signal(process, number)
            if wait_readable(process, SECONDS):
                break
        reap(process)
    except ProcessLookupError:
        pass  # it has ended by itself
    finally:
        os.close(process)


def listener_of(path: Path) -> int | None:
    """A pidfd of who listens there, as the kernel tells it; None: nobody of our user."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking, suppress(OSError):
        asking.settimeout(SECONDS)
        asking.connect(str(path))
        pid, uid = peer_credentials(asking)
        if pid > 0 and uid == os.geteuid():
            return os.pidfd_open(pid)
    return None
