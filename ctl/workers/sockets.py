# SPDX-License-Identifier: GPL-3.0-or-later
"""The sockets of signalling, one for each address and worker, made by the controller and lent to the workers.

They stay open with the controller: what comes while a worker is dead waits in its socket, and the place that a socket
has among those of its port never changes.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from ctl.kernel.steering import Steering
from sip.acceptor import BACKLOG
from sip.effects import Address
from sip.sockets import bind

RECEIVE_BUFFER = 4 << 20
_SHARED = (socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
_ROOMY = (socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)

log = structlog.get_logger()


class SharedSockets:
    """All of them, open. Raises TransportError where one cannot be."""

    def __init__(self, addresses: Sequence[Address], workers: int) -> None:
        self._workers = workers
        self._sockets: dict[Address, list[socket.socket]] = {}
        self.steered = False
        """Whether the kernel deals datagrams out by Call-ID, so that workers need hand none on."""
        try:
            for address in addresses:
                self._sockets[address] = []
                for _ in range(workers):
                    self._sockets[address].append(_bound(address))
        except OSError:
            self.close()
            raise

    def steer(self, bpffs: Path) -> str:
        """Have the kernel deal datagrams out; return why it does not, with the remedy, "" where it does."""
        try:
            program = Steering.open(bpffs)
            if program is None:
                return "datagrams are passed on by the workers themselves; let the kernel do it: run voxdp attach"
            groups = [found for address, found in self._sockets.items() if address.transport == "udp"]
            for number, sockets in enumerate(groups):
                program.share(number * self._workers, sockets)
            program.close()
        except OSError as error:
            return f"datagrams are passed on by the workers themselves: {error}"
        self.steered = True
        return ""

    def of(self, worker: int) -> dict[Address, int]:
        """Return the descriptors that are lent to a worker."""
        return {address: sockets[worker].fileno() for address, sockets in self._sockets.items()}

    def close(self) -> None:
        """Close them all."""
        for sockets in self._sockets.values():
            for each in sockets:
                each.close()
        self._sockets.clear()


class Lent:
    """Gives out what was lent, in place of `sip.sockets.bind`."""

    def __init__(self, descriptors: Mapping[Address, int]) -> None:
        self._descriptors = descriptors

    def __call__(self, address: Address, kind: socket.SocketKind, *options: tuple[int, int, int]) -> socket.socket:
        """Return our own descriptor of the socket for this address."""
        lent = socket.socket(fileno=socket.dup(self._descriptors[address]))
        lent.setblocking(False)
        return lent


def _bound(address: Address) -> socket.socket:
    if address.transport == "udp":
        return bind(address, socket.SOCK_DGRAM, _SHARED, _ROOMY)
    listener = bind(address, socket.SOCK_STREAM, _SHARED)
    listener.listen(BACKLOG)
    return listener
