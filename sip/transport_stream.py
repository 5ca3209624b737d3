# SPDX-License-Identifier: GPL-3.0-or-later
"""SIP over TCP and TLS (RFC 3261 §18, RFC 5923): messages go by the connection that is there, or by one that we open.

A peer that connected to us is reached by its connection and never by its port: it listens on no ephemeral port, and
what stands in a Via could point us at somebody else.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from ssl import SSLContext
from typing import cast

from sip.acceptor import SWEEP_SECONDS, Acceptor, Leave, Room, StreamLimits
from sip.effects import Address, Send
from sip.errors import ParseError
from sip.framing import PONG, Framer
from sip.handlers import Handlers
from sip.parser import MAX_MESSAGE
from sip.sockets import Bind

DIAL_SECONDS = 4.0
_MAX_UNSENT = 1 << 20
_MAX_QUEUED = 64

Key = tuple[str, int, str, str]


class StreamTransport:
    """All TCP and TLS connections of the signalling.

    server_context, client_context: TLS as it is now; asked at each handshake, so that it can be replaced. Messages that
    could not go out are handed to `handlers.undelivered`; `dropped` counts them.
    """

    def __init__(
        self,
        handlers: Handlers,
        limits: StreamLimits | None = None,
        server_context: Callable[[], SSLContext] | None = None,
        client_context: Callable[[], SSLContext] | None = None,
        bind: Bind | None = None,
    ) -> None:
        self.dropped = 0
        self.acceptor = Acceptor(limits or StreamLimits(), self._make_room, bind)
        self._handlers = handlers
        self._server_context = server_context
        self._client_context = client_context
        self._connections: dict[Key, Connection] = {}
        self._dials: dict[Key, _Dial] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._closing = False
        self._room = Room(handlers.wanted)

    @property
    def addresses(self) -> list[Address]:
        """The addresses that are open, with the ports that they have."""
        return self.acceptor.addresses

    def __len__(self) -> int:
        return len(self._connections)

    def open(self, addresses: Iterable[Address]) -> None:
        """Listen on each address, of transport tcp or tls, or on none. Raises TransportError."""
        try:
            for address in addresses:
                context = self._server_context if address.transport == "tls" else None
                self.acceptor.open(address, self._accepted, context)
        except OSError:
            self.close()
            raise
        self._sweep()

    def has(self, target: Address) -> bool:
        """Whether there is a connection to a peer."""
        return _key(target) in self._connections

    def send(self, effect: Send) -> None:
        """Send one message by the connection to its target, opening one where the target may be connected to."""
        target = effect.target
        connection = self._connections.get(_key(target))
        if connection:
            connection.send(effect)
        elif target.inbound or len(effect.data) > MAX_MESSAGE:
            self.lost(effect)
        else:
            self._dial(effect)

    def certificate_names(self, address: Address) -> tuple[str, ...]:
        """The names in the verified certificate of the peer at `address`; () where it has shown none."""
        connection = self._connections.get(_key(address))
        return connection.certificate_names() if connection else ()

    def close(self) -> None:
        """Close all connections and listen no more."""
        self._closing = True
        self.acceptor.close()
        if self._sweeper:
            self._sweeper.cancel()
        for dial in self._dials.values():
            dial.task.cancel()
        for connection in tuple(self._connections.values()):
            connection.close()

    def lost(self, effect: Send) -> None:
        """A message did not go out."""
        self.dropped += 1
        self._handlers.undelivered(effect)

    def opened(self, key: Key, connection: Connection) -> None:
        """A connection is there; one to the same peer that was there before is no longer used for sending."""
        self._connections[key] = connection

    def gone(self, key: Key, connection: Connection) -> None:
        """A connection is there no more."""
        if self._connections.get(key) is connection:
            del self._connections[key]
            if connection.inbound and not self._closing:
                self._handlers.parted(connection.peer)

    def _accepted(self, source: Address, local: Address, leave: Leave) -> Connection:
        return Connection(self, self._handlers, _key(source), source, local, leave)

    def _dial(self, effect: Send) -> None:
        key = _key(effect.target)
        dial = self._dials.get(key)
        if dial is None:
            dial = self._dials[key] = _Dial(self._connect(key, effect))
        if len(dial.queue) < _MAX_QUEUED:
            dial.queue.append(effect)
        else:
            self.lost(effect)

    async def _connect(self, key: Key, first: Send) -> None:
        target, local = first.target, first.local or Address("", 0, first.target.transport)
        connection = Connection(self, self._handlers, key, target, local, None)
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                await self._establish(connection, target, local)
        except (OSError, TimeoutError):
            for effect in self._dials.pop(key).queue:
                self.lost(effect)
            return
        for effect in self._dials.pop(key).queue:
            connection.send(effect)

    async def _establish(self, connection: Connection, target: Address, local: Address) -> None:
        loop = asyncio.get_running_loop()
        here = (local.host, 0) if local.host else None
        if target.transport == "tcp":
            await loop.create_connection(lambda: connection, target.host, target.port, local_addr=here)
            return
        if self._client_context is None:
            raise OSError("no TLS here")
        await loop.create_connection(
            lambda: connection,
            target.host,
            target.port,
            local_addr=here,
            ssl=self._client_context(),
            server_hostname=target.name or target.host,
        )

    def _make_room(self) -> bool:
        return self._room.make(each for each in self._connections.values() if each.inbound)

    def _sweep(self) -> None:
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)
        now, limits = time.monotonic(), self.acceptor.limits
        late = [each for each in self._connections.values() if each.late(now, limits.message)]
        idle = [each for each in self._connections.values() if now - each.heard > limits.idle]
        wanted = self._handlers.wanted() if idle else frozenset()
        for connection in (*late, *(each for each in idle if each.peer not in wanted)):
            connection.close()


class Connection(asyncio.Protocol):
    """One connection. `leave`: what takes it off the acceptor's count, None where we opened it."""

    def __init__(
        self,
        owner: StreamTransport,
        handlers: Handlers,
        key: Key,
        peer: Address,
        local: Address,
        leave: Leave | None,
    ) -> None:
        self.peer, self.local = peer, local
        self.inbound = leave is not None
        self.heard = self._began = time.monotonic()
        self._owner, self._handlers, self._key, self._leave = owner, handlers, key, leave
        self._framer = Framer()
        self._transport: asyncio.Transport | None = None
        self._unsent: deque[Send] = deque(maxlen=_MAX_QUEUED)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; that of uvloop is no subclass of asyncio's, so its type cannot be tested."""
        self._transport = cast(asyncio.Transport, transport)
        if self.inbound and self.peer.transport == "tls":
            self.peer = replace(self.peer, certified=self.certificate_names())
        self._owner.opened(self._key, self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; timers see to what it carried."""
        self._transport = None
        self._owner.gone(self._key, self)
        if self._leave:
            self._leave()

    def data_received(self, data: bytes) -> None:
        """Hand on what is complete; a stream that cannot be followed is answered and closed."""
        self.heard = time.monotonic()
        if not self._framer.waiting:
            self._began = self.heard
        try:
            for frame in self._framer.feed(data):
                if frame:
                    self._handlers.received(frame, self.peer, self.local)
                else:
                    self._answer_ping()
                self._began = self.heard
        except ParseError as error:
            self._handlers.unreadable(error, self.peer, self.local)
            self.close()

    def _answer_ping(self) -> None:
        """One who asks and asks and never reads is given up as well."""
        transport = self._transport
        if transport and transport.get_write_buffer_size() > _MAX_UNSENT:
            transport.abort()
        elif transport and not transport.is_closing():
            transport.write(PONG)

    def late(self, now: float, limit: float) -> bool:
        """Whether a message was begun, or a first one is owed, for longer than `limit` seconds."""
        return self._framer.waiting > 0 and now - self._began > limit

    def send(self, effect: Send) -> None:
        """Write one message; a peer that does not read is given up."""
        transport = self._transport
        if transport is None or transport.is_closing():
            self._owner.lost(effect)
        elif transport.get_write_buffer_size() > _MAX_UNSENT:
            transport.abort()
            self._owner.lost(effect)
        else:
            transport.write(effect.data)

    def certificate_names(self) -> tuple[str, ...]:
        """Host names and SIP domains of the peer's verified certificate, in lower case (RFC 5922 §7.1)."""
        certificate = self._transport.get_extra_info("peercert") if self._transport else None
        names = (certificate or {}).get("subjectAltName", ())
        return tuple(
            value.lower().removeprefix("sip:")
            for kind, value in names
            if kind in ("DNS", "IP Address") or (kind == "URI" and value.lower().startswith("sip:"))
        )

    def close(self) -> None:
        """Close when all is sent."""
        if self._transport:
            self._transport.close()


class _Dial:
    """A connection that is being opened, and what waits for it."""

    def __init__(self, connecting: Coroutine[None, None, None]) -> None:
        self.queue: deque[Send] = deque()
        self.task = asyncio.create_task(connecting, name="dial")


def _key(address: Address) -> Key:
    return address.host, address.port, address.transport, address.name
