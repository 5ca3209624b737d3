# SPDX-License-Identifier: GPL-3.0-or-later
"""Network namespaces by name, as `ip netns` keeps them under /run/netns."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from pyroute2 import netns

NAMESPACES = Path("/run/netns")


def create(name: str) -> None:
    """Make the namespace; its loopback is still down."""
    netns.create(name)


def remove(name: str) -> None:
    """End whatever still runs in the namespace and delete it; nothing happens if it is not there."""
    if not (NAMESPACES / name).exists():
        return
    end_processes(name)
    try:
        netns.remove(name)
    except OSError as failure:
        if failure.errno not in (errno.ENOENT, errno.EINVAL):
            raise


def end_processes(name: str, patience: float = 5.0) -> None:
    """SIGKILL every process in the namespace and wait until they are gone."""
    deadline = time.monotonic() + patience
    while left := processes(name):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return
        time.sleep(0.02)


def processes(name: str) -> list[int]:
    """Ids of the processes in the namespace, zombies left out."""
    try:
        wanted = (NAMESPACES / name).stat().st_ino
    except FileNotFoundError:
        return []
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _network_of(pid) == wanted]


def _network_of(pid: int) -> int | None:
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino
    except OSError:
        return None


@contextlib.contextmanager
def entered(name: str) -> Iterator[None]:
    """This thread works in the namespace: what sockets it opens meanwhile belong there for good."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        netns.setns(str(NAMESPACES / name))
        try:
            yield
        finally:
            netns.setns(home)
    finally:
        os.close(home)


def connect(name: str, address: tuple[str, int], timeout: float) -> socket.socket:
    """A TCP connection made inside the namespace. OSError as socket.create_connection raises it."""
    with entered(name):
        return socket.create_connection(address, timeout)


def datagram_socket(name: str, address: tuple[str, int]) -> socket.socket:
    """A UDP socket of the namespace bound to `address`."""
    with entered(name):
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.bind(address)
        return opened
