# SPDX-License-Identifier: GPL-3.0-or-later
"""Opens what an engine may not, AF_XDP sockets above all: what `voxdp xsk` runs, with CAP_NET_RAW and nothing else.

Whatever else it was started with it gives up, but for CAP_IPC_LOCK: locked memory may be limited.

It takes an interface, a queue and a file for the packets' memory, and gives back a socket that is bound to that queue,
on the interfaces that it was told and no others. It never reads a packet.

    {"interface": "eth0", "queue": 0, "seats": 2, "shares": false} and the memory's file, or where it shares those of a
    queue's first socket, that one → {"error": 0, "zero_copy": false} and the socket

Where it was told so, it also opens /dev/cpu_dma_latency, which is root's, anew for each who asks: the kernel forgets a
bound when nobody has open any more what it was written to, and so we must not have it.

    {"device": "cpu_dma_latency"} → {"error": 0, "zero_copy": false} and the open device
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from media._engine import ffi, lib
from media.control_socket import SocketLock, listen, peer_user
from media.flow_json import check_range, members
from media.flows import EngineError
from media.spawn import READY, tell

AF_XDP = 44  # linux/socket.h
CAP_NET_RAW, CAP_IPC_LOCK = 13, 14  # linux/capability.h
KEPT = 1 << CAP_NET_RAW | 1 << CAP_IPC_LOCK
"""Capabilities that it goes on with, as far as it has them."""
OPENER_SOCKET = "xsk.sock"
"""Where it listens, in the run directory."""
MESSAGE = 256
PATIENCE = 2.0
"""Seconds that one side waits for the other."""
QUEUES = 1 << 16
LATENCY_DEVICE = Path("/dev/cpu_dma_latency")
LATENCY_QUESTION = {"device": LATENCY_DEVICE.name}


@dataclass(frozen=True)
class WireWanted:
    """A socket on a queue of an interface for one of `seats` workers."""

    interface: str
    queue: int
    seats: int = 1


@dataclass(frozen=True)
class OpenerSettings:
    """socket: where to listen. interfaces: none, where no AF_XDP sockets are wanted. uid, gid: of the engine, which
    alone is served, but for root.

    ready: descriptor to tell how starting went, as `media.spawn` has it. cpu_latency: /dev/cpu_dma_latency is opened.
    """

    socket: Path
    interfaces: Collection[str]
    uid: int
    gid: int
    ready: int | None = None
    cpu_latency: bool = False

    @property
    def opens(self) -> str:
        """What, for people; empty: nothing."""
        sockets = "AF_XDP sockets" if self.interfaces else ""
        return " and ".join(filter(None, (sockets, str(LATENCY_DEVICE) if self.cpu_latency else "")))

    @property
    def kept(self) -> int:
        """The capabilities that it goes on with, as bits."""
        return KEPT if self.interfaces else 0


def serve(settings: OpenerSettings) -> None:
    """Open sockets until SIGTERM or SIGINT. Raises EngineError."""
    lock = take_lock(settings.socket)
    try:
        if settings.interfaces:
            refuse_unable()
        with listener(settings) as listening:
            if lib.engine_keep_capabilities(settings.kept):
                raise EngineError("system", "the other capabilities cannot be given up")
            ending = end_on_signals(listening)
            tell(settings.ready, READY)
            while not ending:
                with suppress(OSError):  # whoever asks may go away at any time
                    client, _ = listening.accept()
                    with client:
                        answer(client, settings)
    finally:
        with suppress(OSError):  # in a directory that is the engine's user's, and no longer open to us
            settings.socket.unlink()
        lock.release()


def take_lock(path: Path) -> SocketLock:
    """The right to listen there. Raises EngineError."""
    try:
        return SocketLock(path)
    except EngineError as error:
        if error.code != "running":
            raise
        raise EngineError("running", f"{path} is another's; end the voxdp xsk that runs already") from None


def listener(settings: OpenerSettings) -> socket.socket:
    """A listening socket that none but the engine's user and root may connect to."""
    try:
        listening = listen(settings.socket)
        os.chown(settings.socket, settings.uid, settings.gid)
    except OSError as error:
        raise EngineError("system", f"{settings.socket}: {error.strerror}; run voxdp xsk as root") from None
    listening.setblocking(True)
    return listening


def refuse_unable() -> None:
    """Raise EngineError if we may open no such sockets; and have the memory of all of them locked, as far as we may."""
    hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
    try:
        socket.socket(AF_XDP, socket.SOCK_RAW).close()
    except OSError as error:
        if error.errno == errno.EPERM:
            raise EngineError("not-permitted", "AF_XDP sockets need CAP_NET_RAW; run voxdp xsk as root") from None
        raise EngineError("system", "this kernel has no AF_XDP sockets (CONFIG_XDP_SOCKETS)") from None


def end_on_signals(listening: socket.socket) -> list[int]:
    """SIGTERM and SIGINT end waiting; the list returned has them then."""
    came: list[int] = []

    def end_now(number: int, _frame: Any) -> None:
        came.append(number)
        listening.close()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end_now)
    return came


def answer(client: socket.socket, settings: OpenerSettings) -> None:
    """One question, one answer. Raises OSError if nobody waits for it."""
    client.settimeout(PATIENCE)
    if peer_user(client) not in (0, settings.uid):
        return
    message, files, _, _ = socket.recv_fds(client, MESSAGE, 1)
    try:
        found, zero_copy = opened(message, files, settings)
        reply = json.dumps({"error": max(0, -found), "zero_copy": zero_copy}).encode()
        try:
            socket.send_fds(client, [reply], [found] if found >= 0 else [])
        finally:
            if found >= 0:
                os.close(found)
    finally:
        for file in files:
            os.close(file)


def opened(message: bytes, files: list[int], settings: OpenerSettings) -> tuple[int, bool]:
    """A bound socket, or an errno as a negative number; and whether the driver shares its memory."""
    try:
        question = json.loads(message)
        if question == LATENCY_QUESTION:
            return open_latency_device() if settings.cpu_latency else -errno.EACCES, False
        kinds: dict[str, tuple[type, ...]] = {"interface": (str,), "queue": (int,), "seats": (int,), "shares": (bool,)}
        wanted = members(question, kinds)
        check_range("queue", wanted["queue"], 0, QUEUES)
        check_range("seats", wanted["seats"], 1, lib.ENGINE_WORKERS)
        if len(files) != 1 or wanted["interface"] not in settings.interfaces:
            return -errno.EACCES, False
        index = socket.if_nametoindex(wanted["interface"])
    except (ValueError, EngineError):
        return -errno.EBADMSG, False
    except OSError:
        return -errno.ENODEV, False
    zero_copy = ffi.new("int *")
    first, memory = (files[0], -1) if wanted["shares"] else (-1, files[0])
    found = int(lib.engine_open_wire(index, wanted["queue"], wanted["seats"], first, memory, zero_copy))
    return found, bool(zero_copy[0])


def open_latency_device() -> int:
    """A descriptor of the device, or an errno as a negative number. Until something is written, nothing is bounded."""
    try:
        return os.open(LATENCY_DEVICE, os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        return -(error.errno or errno.EIO)


def ask_latency_device(path: Path) -> int:
    """The same from the opener at `path`; -EPERM: nobody is there."""
    return _ask(path, LATENCY_QUESTION, [])[0]


def ask_opener(path: Path, wanted: WireWanted, file: int, shares: bool = False) -> tuple[int, bool]:
    """A socket that the opener at `path` has bound, or an errno as a negative number; -EPERM: nobody is there.

    file: the memory's, or where it shares those of the queue's first socket, that one.
    """
    return _ask(path, {**asdict(wanted), "shares": shares}, [file])


def _ask(path: Path, question: dict[str, Any], given: list[int]) -> tuple[int, bool]:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
            asking.settimeout(PATIENCE)
            asking.connect(str(path))
            socket.send_fds(asking, [json.dumps(question).encode()], given)
            message, files, _, _ = socket.recv_fds(asking, MESSAGE, 1)
    except OSError:
        return -errno.EPERM, False
    if not message:
        return -errno.EACCES, False
    reply = json.loads(message)
    return (files[0], reply["zero_copy"]) if files else (-reply["error"], False)


def main(settings: OpenerSettings) -> int:
    """Run it; the exit status."""
    try:
        serve(settings)
    except EngineError as error:
        tell(settings.ready, f"{error.code} {error}".encode())
        print(f"voxdp xsk: {error}", file=sys.stderr)
        return 1
    return 0


def from_command_line() -> int:
    """Run it as `media.opener_process` starts it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", type=Path, required=True)
    for number in ("--uid", "--gid", "--ready"):
        parser.add_argument(number, type=int, required=True)
    parser.add_argument("--cpu-latency", action="store_true")
    parser.add_argument("interfaces", nargs="*")
    return main(OpenerSettings(**vars(parser.parse_args())))


if __name__ == "__main__":
    sys.exit(from_command_line())
