# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that deals datagrams out to the sockets that several processes have on one SIP port.

`voxdp attach` loads and pins it, as it does with the relay; a controller without capabilities then names its sockets to
it. Without it the kernel deals by address, and the processes hand each other what is not theirs.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from bpf import STEERING_OBJECT
from ctl.kernel.libbpf import BpfError, BpfObject, Map, Program

PROGRAM, MAPS = "steer", ("listeners", "sockets")
SO_ATTACH_REUSEPORT_EBPF = 52  # asm-generic/socket.h; Python has no name for it
_LISTENER, _SHARE, _DESCRIPTOR, _INDEX = map(struct.Struct, ("=II16s", "=II", "=Q", "=I"))


def directory(bpffs: Path) -> Path:
    """Where it is pinned: beside the relay's layouts, for it has nothing to do with them."""
    return bpffs / "voxdp-steering"


def pin(bpffs: Path, uid: int, gid: int) -> None:
    """Load it and pin it for this user, in place of what is pinned. Needs root; raises BpfError or OSError.

    Sockets that have the former one keep it until they are closed.
    """
    place = directory(bpffs)
    unpin(bpffs)
    loaded = BpfObject.open(STEERING_OBJECT)
    try:
        loaded.load()
        place.mkdir(mode=0o700)
        for name in MAPS:
            loaded.map(name).pin(place / name)
        loaded.program(PROGRAM).pin(place / PROGRAM)
    finally:
        loaded.close()
    for path in (place, *place.iterdir()):
        path.chmod(0o700 if path.is_dir() else 0o600)
        os.chown(path, uid, gid)


def unpin(bpffs: Path) -> None:
    """Remove the pins, if there are any; sockets that have the program keep it."""
    place = directory(bpffs)
    if place.exists():
        shutil.rmtree(place)


class Steering:
    """The pinned program, opened. Needs no capability, only the permissions of the pins."""

    def __init__(self, program: Program, listeners: Map, sockets: Map) -> None:
        self._program, self._listeners, self._sockets = program, listeners, sockets

    @classmethod
    def open(cls, bpffs: Path) -> Steering | None:
        """Return what is pinned, None where nothing is. Raises BpfError where it may not be opened."""
        place = directory(bpffs)
        try:
            if not (place / PROGRAM).exists():
                return None
            found = [Map.from_pin(place / name) for name in MAPS]
            return cls(Program.from_pin(place / PROGRAM), *found)
        except PermissionError as error:
            raise BpfError(error.errno, f"{place} is closed to user id {os.geteuid()}; let xdp.owner name it") from None

    def share(self, first: int, sockets: Sequence[socket.socket]) -> None:
        """Deal the datagrams of one address out to these bound sockets, one for each worker in their order.

        first: the number of the first of them among those of all addresses. Raises BpfError or OSError.
        """
        host, port = sockets[0].getsockname()[:2]
        family = sockets[0].family
        for number, each in enumerate(sockets, first):
            self._sockets.update(_INDEX.pack(number), _DESCRIPTOR.pack(each.fileno()))
        listener = _LISTENER.pack(family, port, ip_address(host.partition("%")[0]).packed)
        self._listeners.update(listener, _SHARE.pack(first, len(sockets)))
        sockets[0].setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, self._program.fd)

    def close(self) -> None:
        """Let go of it; the sockets keep the program."""
        for each in (self._program, self._listeners, self._sockets):
            each.close()
