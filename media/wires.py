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
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from media._engine import ffi, lib
from media.engine import Engine
from media.flows import EngineError, EngineWire, EngineWires
from media.wire_opener import ask_opener

IFREQ = struct.Struct("16si20x")
SIOCGIFMTU = 0x8921
LOOKS = 10
"""Turns of the engine's loop between two looks at whether a wire is missing."""
QUEUES = 64
"""Places that each interface has in the relay's map `wires`."""
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
        self._turns = 0

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
        """To be called in each turn of the engine's loop; replaced: workers that were, whose wires are gone."""
        self._turns += 1
        if self._wanted and (replaced or self._turns % LOOKS == 0):
            self._open_missing()

    def _open_missing(self) -> None:
        self.trouble = ""
        wanted = self._wanted
        if wanted is None:
            return
        there = {(wire.interface, wire.queue) for wire in self._engine.wires()}
        with ExitStack() as open_files:
            try:
                maps = [open_map(wanted.pins / name, open_files) for name in ("wires", "queues")]
                if not there:
                    lib.engine_clear_queues(maps[1])  # of an engine before this, with other places
                for number, name in enumerate(wanted.interfaces):
                    self._fill_interface(name, number, maps, there, wanted.opener)
            except (Refused, EngineError) as error:
                self.trouble = str(error)

    def _fill_interface(
        self, name: str, number: int, maps: list[int], there: set[tuple[str, int]], opener: Path
    ) -> None:
        """Open a wire on each receive queue: the kernel says which number is none any more."""
        for queue in range(lib.ENGINE_WIRES * self._engine.workers):
            if (name, queue) in there:
                continue
            with ExitStack() as files:
                memory = os.memfd_create("voxdp-wire", os.MFD_CLOEXEC)
                files.callback(os.close, memory)
                os.truncate(memory, lib.engine_wire_memory())
                opened = open_wire(name, queue, memory, opener)
                if opened is None:
                    return
                descriptor, zero_copy = opened
                files.callback(os.close, descriptor)
                wire = EngineWire(name, queue, queue % self._engine.workers, zero_copy, 0, 0, 0)
                self._engine.add_wire(wire, interface_mtu(name), descriptor, memory, maps, place_of(number, queue))


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


def open_wire(name: str, queue: int, memory: int, opener: Path) -> tuple[int, bool] | None:
    """An open socket, and whether the driver shares its memory; None: no queue has that number. Raises Refused."""
    zero_copy = ffi.new("int *")
    try:
        found = int(lib.engine_open_wire(socket.if_nametoindex(name), queue, memory, zero_copy))
    except OSError:
        found = -errno.ENODEV
    shares = bool(zero_copy[0])
    if found == -errno.EPERM:
        found, shares = ask_opener(opener, name, queue, memory)
    if found == -errno.EINVAL and queue:
        return None
    if found < 0:
        why = REMEDIES.get(-found, os.strerror(-found))
        raise Refused(f"{name}, queue {queue}: {why}")
    return found, shares


def place_of(number: int, queue: int) -> int:
    """Place in the relay's map `wires` of a queue of the numberth interface. Raises Refused where it has none."""
    place = number * QUEUES + queue
    if queue >= QUEUES or place >= lib.WIRES:
        raise Refused(f"of {lib.WIRES // QUEUES} interfaces {QUEUES} queues each can have AF_XDP sockets, no more")
    return place


def interface_mtu(name: str) -> int:
    """Longest IP packet of an interface, in bytes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        found = fcntl.ioctl(asking, SIOCGIFMTU, IFREQ.pack(name.encode(), 0))
    return int(IFREQ.unpack(found)[1])
