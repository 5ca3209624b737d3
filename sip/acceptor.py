# SPDX-License-Identifier: GPL-3.0-or-later
"""Listening stream sockets: who may connect, how many at once, and how long a handshake may take.

A connection is counted from the moment it is accepted, before TLS has cost anything.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Set
from itertools import islice
from ssl import SSLContext
from typing import Protocol

from sip.effects import Address
from sip.facts import fact
from sip.sockets import Bind, bind

SWEEP_SECONDS = 2.0
"""How often connections are looked at that are idle or late."""
ROOM, ROOM_SECONDS = 64, 0.2
"""How many connections are closed at once to make room, and how long it is until that is tried again."""
BACKLOG = 1024
PAUSE = 0.5
"""Seconds without accepting, where no descriptors are left."""
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_AT_ONCE = 128
_PROBES, _PROBE_SECONDS = 3, 5
"""How often, and how long one after the other, a peer that does not answer is asked before its connection is lost."""


@fact
class StreamLimits:
    """What strangers may cost us. connections: open at once; per_source: of them from one address; half_open: of them
    in their TLS handshake. Times in seconds: handshake; message, from its first byte to its last; idle, of a
    connection that carries neither a registration nor a call; keepalive, of silence until the peer's kernel is asked
    whether it is there, so that NAT remembers the connection and a peer that is gone is noticed. 0: it is not asked.
    """

    connections: int = 10_000
    per_source: int = 64
    half_open: int = 512
    handshake: float = 5.0
    message: float = 10.0
    idle: float = 120.0
    keepalive: int = 0


class Held(Protocol):
    """A connection that somebody opened to us."""

    peer: Address

    def close(self) -> None:
        """Close when all is sent."""


class Room:
    """Makes room for new connections. wanted: the peers whose connections carry a registration or a call."""

    def __init__(self, wanted: Callable[[], Set[Address]]) -> None:
        self._wanted = wanted
        self._made = 0.0

    def make(self, connections: Iterable[Held]) -> bool:
        """Close the first of these that nobody needs, now and then; whether there were any."""
        now = time.monotonic()
        if now - self._made < ROOM_SECONDS:
            return False
        self._made = now
        wanted = self._wanted()
        closed = list(islice((each for each in connections if each.peer not in wanted), ROOM))
        for connection in closed:
            connection.close()
        return bool(closed)


Leave = Callable[[], None]
Factory = Callable[[Address, Address, Leave], asyncio.BaseProtocol]
"""Makes the protocol of a connection: its source, the address of ours that it came to, what to call when it is lost."""


class Acceptor:
    """Accepts for all stream transports. `refused` counts connections that were over a limit.

    make_room: asked to close one connection that nobody needs; whether there was one. bind: who lends us sockets.
    """

    def __init__(self, limits: StreamLimits, make_room: Callable[[], bool], bind: Bind | None = None) -> None:
        self._bind = bind
        self.limits = limits
        self.refused = 0
        self._make_room = make_room
        self._listeners: dict[Address, socket.socket] = {}
        self._sources: Counter[str] = Counter()
        self._handshakes: set[asyncio.Task[None]] = set()

    @property
    def addresses(self) -> list[Address]:
        """The addresses that are open, with the ports that they have."""
        return list(self._listeners)

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return self._sources.total()

    def open(self, address: Address, factory: Factory, context: Callable[[], SSLContext] | None = None) -> Address:
        """Listen; returns the address with its port. context: asked at each connection, so that it can change.

        Raises TransportError.
        """
        listener = (self._bind or bind)(address, socket.SOCK_STREAM)
        listener.listen(BACKLOG)
        local = Address(address.host, listener.getsockname()[1], address.transport)
        self._listeners[local] = listener
        asyncio.get_running_loop().add_reader(listener, self._accept, listener, local, factory, context)
        return local

    def close(self) -> None:
        """Accept no more, and give up handshakes; connections that are open are their owners' to close."""
        for listener in self._listeners.values():
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
        self._listeners.clear()
        for task in self._handshakes:
            task.cancel()

    def _accept(
        self, listener: socket.socket, local: Address, factory: Factory, context: Callable[[], SSLContext] | None
    ) -> None:
        for _ in range(_AT_ONCE):
            try:
                accepted, peer = listener.accept()
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause(listener, local, factory, context)
                return
            source = Address(peer[0], peer[1], local.transport, inbound=True)
            if not self._admits(source.host):
                self.refused += 1
                accepted.close()
                continue
            self._sources[source.host] += 1
            leave = self._once(source.host)
            connecting = self._connect(accepted, factory(source, local, leave), context, leave)
            task = asyncio.create_task(connecting, name="handshake")
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    def _pause(
        self, listener: socket.socket, local: Address, factory: Factory, context: Callable[[], SSLContext] | None
    ) -> None:
        """Let those that wait wait: without descriptors there is nothing to be done for them at once."""
        self.refused += 1
        self._make_room()
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)
        loop.call_later(PAUSE, self._resume, listener, local, factory, context)

    def _resume(
        self, listener: socket.socket, local: Address, factory: Factory, context: Callable[[], SSLContext] | None
    ) -> None:
        if self._listeners.get(local) is listener:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener, local, factory, context)

    def _admits(self, host: str) -> bool:
        if self._sources[host] >= self.limits.per_source or len(self._handshakes) >= self.limits.half_open:
            return False
        return self.connections < self.limits.connections or self._make_room()

    def _once(self, host: str) -> Leave:
        """What takes one connection of `host` off the count, and nothing the second time."""
        left = False

        def leave() -> None:
            nonlocal left
            if not left:
                left = True
                self._sources[host] -= 1
                if not self._sources[host]:
                    del self._sources[host]

        return leave

    async def _connect(
        self,
        accepted: socket.socket,
        protocol: asyncio.BaseProtocol,
        context: Callable[[], SSLContext] | None,
        leave: Leave,
    ) -> None:
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.limits.keepalive:
            _keep_alive(accepted, self.limits.keepalive)
        loop = asyncio.get_running_loop()
        try:
            if context:
                limit = self.limits.handshake
                await loop.connect_accepted_socket(
                    lambda: protocol, accepted, ssl=context(), ssl_handshake_timeout=limit
                )
            else:
                await loop.connect_accepted_socket(lambda: protocol, accepted)
        except (OSError, asyncio.CancelledError) as error:
            accepted.close()
            leave()
            if isinstance(error, asyncio.CancelledError):
                raise


def _keep_alive(connection: socket.socket, idle: int) -> None:
    """A peer that acknowledges nothing that was sent to it is lost as soon as one that was only asked."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    interval = min(idle, _PROBE_SECONDS)
    for option, value in (
        (socket.TCP_KEEPIDLE, idle),
        (socket.TCP_KEEPINTVL, interval),
        (socket.TCP_KEEPCNT, _PROBES),
        (socket.TCP_USER_TIMEOUT, 1000 * (idle + _PROBES * interval)),
    ):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
