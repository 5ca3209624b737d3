# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames of a call or of single flows, before and after the relay rewrote them, into a file for Wireshark."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING, Any

import click

from ctl.configfile import run_directory
from ctl.exits import DENIED, FAILED, USAGE
from ctl.terminal.client import CommandError, hold
from ctl.terminal.session import Session
from ctl.terminal.table import counted

if TYPE_CHECKING:
    from ctl.kernel.copies import Copy, CopyReader

POLL_SECONDS = 0.05
AT_ONCE = 1000


@click.command()
@click.option("--call", "calls", multiple=True, metavar="ID", help="All flows of a call; may be given again")
@click.option("--flow", "flows", multiple=True, metavar="ID", help="One flow, as listed; may be given again")
@click.option("-w", "--write", "path", metavar="FILE", required=True, help="pcapng file; -: standard output")
@click.option("-c", "--count", type=click.IntRange(min=1), help="End after so many frames")
@click.option("--seconds", type=click.FloatRange(min=0.1), help="End after so long")
@click.pass_obj
def capture(
    session: Session,
    calls: tuple[str, ...],
    flows: tuple[str, ...],
    path: str,
    count: int | None,
    seconds: float | None,
) -> None:
    """Capture what the kernel relay forwards: each frame as it came and as it left. Ends with Ctrl-C, too."""
    if not calls and not flows:
        raise CommandError("name a call or a flow: --call ID or --flow ID", USAGE)
    asked, began = {"calls": calls, "flows": flows}, time.monotonic()
    with (
        hold(run_directory(session.path), "capture", asked, session.timeout) as (found, connection),
        _reader(session) as reader,
        _file(path) as file,
    ):
        told = [f"{flow} is carried by the engine, and not captured" for flow in found["engine"]]
        told.append(f"capturing {counted(len(found['flows']), 'flow')}; end with Ctrl-C")
        click.echo("\n".join(told), err=True)
        taken, before = _Taken(file, found["flows"], began, count), _not_copied(session, found["flows"])
        _take(taken, reader, connection, seconds)
        missed = _not_copied(session, found["flows"]) - before
    click.echo(f"{counted(taken.frames, 'frame')} captured", err=True)
    if missed > 0:
        click.echo(f"{counted(missed, 'frame')} missing, for which this command was too slow", err=True)


@dataclass(slots=True)
class _Taken:
    """What has been written. flows: as the controller named them; began: frames of before are an earlier capture's."""

    file: IO[bytes]
    flows: list[Mapping[str, Any]]
    began: float
    count: int | None
    frames: int = 0
    _by_index: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    _writer: Any = None

    def __post_init__(self) -> None:
        from importlib.metadata import version

        from ctl.observe.pcapng import Writer

        self._by_index = {flow["index"]: flow for flow in self.flows}
        self._writer = Writer(f"voxdp {version('voxdp')}")
        named = "; ".join(_name(flow) for flow in self.flows)
        self.file.write(self._writer.head(f"voxdp capture of {named}"))
        self.file.flush()

    @property
    def done(self) -> bool:
        """Whether there are as many frames as were asked for."""
        return self.count is not None and self.frames >= self.count

    def write(self, copies: list[Copy], offset: int) -> None:
        """Write frames. offset: nanoseconds from the kernel's clock to that on the wall."""
        from ctl.kernel.copies import CopyKind

        for copy in copies:
            if self.done:
                return
            if copy.time < self.began:
                continue
            flow = self._by_index.get(copy.flow, {})
            came = copy.kind == CopyKind.BEFORE
            comment = f"{_name(flow) if flow else f'flow {copy.flow}'}, as it {'came' if came else 'left'}"
            interface, moment = flow.get("ingress" if came else "egress", "unknown"), round(copy.time * 1e9) + offset
            direction = "in" if came else "out"
            self.file.write(self._writer.frame(interface, direction, moment, copy.length, copy.data, comment))
            self.frames += 1
        self.file.flush()


def _take(taken: _Taken, reader: CopyReader, connection: socket.socket, seconds: float | None) -> None:
    """Write what comes until enough has, the time is over, a signal says so, or the controller ends it."""
    deadline = time.monotonic() + seconds if seconds else float("inf")
    with _told_to_stop() as stopped:
        while not taken.done and not stopped and time.monotonic() < deadline:
            over, _, _ = select.select([connection], [], [], POLL_SECONDS)
            copies = reader.read(AT_ONCE)
            taken.write(copies, time.time_ns() - time.monotonic_ns())
            if over and not copies:
                click.echo("the call is over, or the controller has ended", err=True)
                return


def _not_copied(session: Session, flows: list[Mapping[str, Any]]) -> int:
    """How many frames of these flows found the ring buffer full so far; those of flows that have ended are unknown."""
    found = 0
    for flow in flows:
        with suppress(CommandError):
            found += session.ask("flow.show", id=flow["id"])["copies_dropped"]
    return found


@contextmanager
def _reader(session: Session) -> Iterator[CopyReader]:
    """The ring buffer of captures."""
    import errno

    from ctl.config import load
    from ctl.kernel.copies import CopyReader
    from ctl.kernel.libbpf import BpfError, Map
    from ctl.kernel.pins import Pins

    pins = Pins(load(session.path).xdp.bpffs)
    try:
        reader = CopyReader(Map.from_pin(pins.map("captures")))
    except BpfError as error:
        if error.errno == errno.EACCES:
            raise CommandError(f"{pins.root} belongs to another user; run as that user or as root", DENIED) from None
        raise CommandError(f"{error}; attach the relay with: sudo voxdp attach", FAILED) from None
    try:
        yield reader
    finally:
        reader.close()


@contextmanager
def _file(path: str) -> Iterator[IO[bytes]]:
    """The file, which only its owner may read: it holds what people say."""
    if path == "-":
        if sys.stdout.isatty():
            raise CommandError("a capture is no text; name a file or a pipe, as: -w - | wireshark -k -i -", USAGE)
        yield sys.stdout.buffer
        return
    try:
        descriptor = os.open(Path(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}; name a file that you may write with -w", FAILED) from None
    with os.fdopen(descriptor, "wb") as file:
        yield file


@contextmanager
def _told_to_stop() -> Iterator[list[int]]:
    """A list that has something in it once SIGINT or SIGTERM has come."""
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    former = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _name(flow: Mapping[str, Any]) -> str:
    return f"flow {flow['id']} ({flow['kind']} from leg {flow['leg']}) of call {flow['call']}"
