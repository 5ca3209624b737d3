# SPDX-License-Identifier: GPL-3.0-or-later
"""AF_XDP sockets for the engine's workers: which are wanted, opened where they are missing, and what they have done.

Opening one takes CAP_NET_RAW, which an engine that parses strangers' packets does not have. So it asks who may, see
`media.wire_opener`; everything else about them needs no privilege.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from media._engine import ffi, lib
from media.engine import Engine
from media.flows import EngineError, EngineWire, EngineWires
from media.wire_opener import WireWanted, ask_opener

IFREQ = struct.Struct("16si20x")
SIOCGIFMTU = 0x8921
LOOK_SECONDS = 2.0
"""Between two looks at whether a wire is missing, at least."""
NO_OPENER = "the engine may not open AF_XDP sockets, and nobody does it for it; run: voxdp attach"
REMEDIES = {
    errno.EAFNOSUPPORT: "this kernel has no AF_XDP sockets (CONFIG_XDP_SOCKETS)",
    errno.EBUSY: "another AF_XDP socket has it; see: ss --xdp -p",
    errno.ENOBUFS: "locked memory is limited; raise LimitMEMLOCK of who opens it, or ulimit -l",
    errno.ENODEV: "there is no such interface in this network namespace; see: ip link",
    errno.ENETDOWN: "it is down; run: ip link set up",
    errno.EPERM: NO_OPENER,
}


class Refused(Exception):
    """A wire is not to be had; one line that tells why."""


@dataclass(frozen=True)
class Wanted:
    """pins: directory of the relay's maps; maps: tells one relay's from the next's. opener: socket of who may open."""

    pins: Path
    interfaces: tuple[str, ...]
    opener: Path
    maps: int | None = None


class Wires:
    """Keeps those of one engine. trouble: why not all that were wanted are there, in one line."""

    def __init__(self, engine: Engine) -> None:
        self.trouble = ""
        self._engine = engine
        self._wanted: Wanted | None = None
        self._looked = 0.0

    def want(self, wanted: Wanted | None) -> EngineWires:
        """Open these in place of those that are open; None: none. Those that are wanted already stay."""
        wanted = wanted and replace(wanted, maps=inode(wanted.pins / "wires"))
        if wanted != self._wanted:
            self._engine.drop_wires()
            self._wanted = wanted
        self._open_missing()
        return self.read()

    def read(self) -> EngineWires:
        """Those that are open, and why others are not."""
        return EngineWires(self._engine.wires(), self.trouble)

    def turn(self, replaced: int) -> None:
        """To be called whenever workers were looked at; replaced: those that were, whose wires are gone."""
        now = time.monotonic()
        if self._wanted and (replaced or now - self._looked >= LOOK_SECONDS):
            self._looked = now
            self._open_missing()

    def _open_missing(self) -> None:
        self.trouble = ""
        wanted = self._wanted
        if wanted is None:
            return
        there = {(wire.interface, wire.queue, wire.worker) for wire in self._engine.wires()}
        with ExitStack() as open_files:
            try:
                maps = [open_map(wanted.pins / name, open_files) for name in ("wires", "queues")]
                if not there:
                    lib.engine_clear_queues(maps[1])  # of an engine before this, with other places
                for number, name in enumerate(wanted.interfaces):
                    layout = Layout(len(wanted.interfaces), number, self._engine.workers, queues_of(name))
                    self._fill_interface(name, layout, maps, there, wanted.opener)
            except (Refused, EngineError) as error:
                self.trouble = str(error)

    def _fill_interface(
        self, name: str, layout: Layout, maps: list[int], there: set[tuple[str, int, int]], opener: Path
    ) -> None:
        """Open wires on each receive queue."""
        for queue in range(min(layout.queues, lib.ENGINE_WIRES)):
            wanted = {(name, queue, worker) for worker in layout.workers_of(queue)}
            if wanted <= there:
                continue
            if wanted & there:  # those that share a queue begin together
                self._engine.drop_wires()
                raise Refused(f"{name}, queue {queue}: one of several sockets has gone; all are opened anew")
            self._fill_queue(name, queue, layout, maps, opener)

    def _fill_queue(self, name: str, queue: int, layout: Layout, maps: list[int], opener: Path) -> None:
        """Open one for each worker that shares the queue."""
        workers = layout.workers_of(queue)
        with ExitStack() as files:
            memory = os.memfd_create("voxdp-wire", os.MFD_CLOEXEC)
            files.callback(os.close, memory)
            os.truncate(memory, lib.engine_wire_memory(len(workers)))
            first = -1
            for seat, worker in enumerate(workers):
                descriptor, zero_copy = open_wire(WireWanted(name, queue, len(workers)), first, memory, opener)
                files.callback(os.close, descriptor)
                first = descriptor if first < 0 else first
                fields = {"mtu": interface_mtu(name), "seats": len(workers), "seat": seat}
                wire = EngineWire(name, queue, worker, zero_copy, 0, 0, 0)
                self._engine.add_wire(wire, fields, (descriptor, memory), layout.place_of(queue, maps))


@dataclass(frozen=True)
class Layout:
    """Which workers have sockets on which queue of an interface, and where those are in the relay's map `wires`.

    With fewer queues than workers, those whose number leaves the queue's as remainder share it. With as many or more,
    each queue is one worker's, who hands over what is of another's flow. interfaces: how many share the map.
    """

    interfaces: int
    number: int
    workers: int
    queues: int

    @property
    def shared(self) -> bool:
        """Whether each queue has a place for each worker."""
        return self.queues < self.workers and self.queues * self.workers <= self._places

    @property
    def _places(self) -> int:
        return int(lib.WIRES) // self.interfaces

    def workers_of(self, queue: int) -> list[int]:
        """Return who has a socket on a queue, the first of whom gets what is known to be of none of them."""
        if self.shared:
            return list(range(queue, self.workers, self.queues))
        return [queue % self.workers]

    def place_of(self, queue: int, maps: list[int]) -> Any:
        """Return the struct engine_wire_place of a queue; raise Refused where there is none left."""
        each = self.workers if self.shared else 1
        begin = self.number * self._places + queue * each
        if (queue + 1) * each > self._places:
            raise Refused(f"{self._places // each} queues of an interface can have AF_XDP sockets here, no more")
        place, seats = (begin + self.workers_of(queue)[0], begin + 1) if self.shared else (begin, 0)
        return ffi.new(
            "struct engine_wire_place *", {"wires": maps[0], "queues": maps[1], "place": place, "seats": seats}
        )


def inode(path: Path) -> int | None:
    """What a pin made anew has another of; None: it is not there."""
    try:
        return path.stat().st_ino
    except OSError:
        return None


def open_map(path: Path, files: ExitStack) -> int:
    """A map of the relay, closed with `files`. Raises Refused."""
    found = int(lib.engine_open_map(os.fsencode(path)))
    if found < 0:
        raise Refused(f"{path}: {os.strerror(-found)}; run: voxdp attach")
    files.callback(os.close, found)
    return found


def open_wire(wanted: WireWanted, first: int, memory: int, opener: Path) -> tuple[int, bool]:
    """An open socket, and whether the driver shares its memory. Raises Refused.

    first: one of that queue, -1: this is the first, on a new memory file.
    """
    zero_copy = ffi.new("int *")
    try:
        index = socket.if_nametoindex(wanted.interface)
        found = int(lib.engine_open_wire(index, wanted.queue, wanted.seats, first, memory, zero_copy))
    except OSError:
        found = -errno.ENODEV
    shares = bool(zero_copy[0])
    if found == -errno.EPERM:
        found, shares = ask_opener(opener, wanted, memory if first < 0 else first, first >= 0)
    if found < 0:
        why = REMEDIES.get(-found, os.strerror(-found))
        raise Refused(f"{wanted.interface}, queue {wanted.queue}: {why}")
    return found, shares


def queues_of(name: str) -> int:
    """Receive queues of an interface."""
    return int(lib.engine_queues(os.fsencode(name)))


def interface_mtu(name: str) -> int:
    """Longest IP packet of an interface, in bytes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        found = fcntl.ioctl(asking, SIOCGIFMTU, IFREQ.pack(name.encode(), 0))
    return int(IFREQ.unpack(found)[1])
