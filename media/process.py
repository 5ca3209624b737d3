# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine as a process of its own: what `voxdp engine` runs.

It parses hostile packets, so it has no privilege, and it outlives the controller: flows go on until they are
removed, whoever asks for it over the control socket.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from media.control_socket import ControlSocket
from media.engine import MOST_WORKERS, Engine, harden
from media.flows import EngineError
from media.requests import Requests
from media.spawn import READY, tell

FLOWS = 40_000
CHECK_INTERVAL, IDLE_INTERVAL = 0.1, 5.0
"""Seconds between two looks at whether a worker hangs, while there are flows and while there are none; one that dies is
noticed at once, and one that hangs also by whoever asks it for something."""
HISTORY_SUFFIX = ".history"
"""Beside the control socket: what SRTP keys were used for, without the keys."""
VAULT_SUFFIX = ".keys"
"""Beside it: the certificate of DTLS, and the keys of calls that have shaken hands."""
OWN_FILES = 128
"""Open files that are no flow's: the control socket, its clients, the workers', Python's."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How to run the engine. ready: descriptor to tell how starting went, as `media.spawn` has it."""

    socket: Path
    workers: int = 0
    """Worker processes; 0: one for each CPU."""
    flows: int = FLOWS
    ready: int | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run an engine by command line; the exit status."""
    parser = argparse.ArgumentParser(prog="voxdp engine", description="Carry media flows by sockets.")
    parser.add_argument("--socket", type=Path, required=True, help="path of the control socket")
    parser.add_argument("--workers", type=int, default=0, help="processes that carry packets (one per CPU)")
    parser.add_argument("--flows", type=int, default=FLOWS, help=f"most flows ({FLOWS}); each is an open file")
    parser.add_argument("--ready", type=int, metavar="FD", help="descriptor to tell that the socket listens")
    return run(EngineSettings(**vars(parser.parse_args(arguments))))


def run(settings: EngineSettings) -> int:
    """Serve until SIGTERM, SIGINT or a request to shut down; the exit status, 1 if it cannot start."""
    try:
        forbid_core_dumps()
        control = ControlSocket(settings.socket)
        try:
            carry(control, settings)
        finally:
            control.close()
    except EngineError as error:
        tell(settings.ready, f"{error.code} {error}".encode())
        print(f"voxdp engine: {error}", file=sys.stderr)
        return 1
    return 0


def carry(control: ControlSocket, settings: EngineSettings) -> None:
    """Run the engine. Who has the control socket has the files beside it too."""
    workers = settings.workers or min(len(os.sched_getaffinity(0)), MOST_WORKERS)
    kept = [settings.socket.with_name(settings.socket.name + suffix) for suffix in (HISTORY_SUFFIX, VAULT_SUFFIX)]
    engine = Engine(workers, min(settings.flows, room_for_flows()), *kept)
    try:
        serve(control, engine, settings)
        if not engine.summary().flows:
            for path in kept:
                path.unlink()  # nobody can come back with a key
    finally:
        engine.close()


def serve(control: ControlSocket, engine: Engine, settings: EngineSettings) -> None:
    """Answer clients until the end is asked for."""
    requests = Requests(engine)
    control.answer = requests.answer
    signals = end_on_signals(requests)
    control.watch(signals.fileno(), lambda: drain(signals))
    control.watch(engine.fileno(), requests.turn)
    tell(settings.ready, READY)
    checked = time.monotonic()
    try:
        while not requests.ending:
            due = checked + (CHECK_INTERVAL if engine.flows() else IDLE_INTERVAL)
            control.wait(max(0.0, due - time.monotonic()))
            if time.monotonic() >= due:
                requests.turn()
                checked = time.monotonic()
    finally:
        signal.set_wakeup_fd(-1)
        signals.close()


def end_on_signals(requests: Requests) -> socket.socket:
    """SIGTERM and SIGINT set `requests.ending`; the socket returned can be read after each."""
    reader, writer = socket.socketpair()
    for end in (reader, writer):
        end.setblocking(False)

    def end_now(_number: int, _frame: FrameType | None) -> None:
        requests.ending = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end_now)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.set_wakeup_fd(writer.detach())
    return reader


def drain(signals: socket.socket) -> None:
    """Forget what has been told."""
    with suppress(BlockingIOError):
        signals.recv(64)


def room_for_flows() -> int:
    """How many files we may open, less our own. Raises the limit as far as it goes, or EngineError."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most == resource.RLIM_INFINITY:
        return sys.maxsize
    if most < OWN_FILES + 2:
        raise EngineError("no-files", f"only {most} open files allowed; raise LimitNOFILE or ulimit -Hn")
    return most - OWN_FILES


def forbid_core_dumps() -> None:
    """Keys and conversations are no debugging material."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    harden()


if __name__ == "__main__":
    sys.exit(main())
