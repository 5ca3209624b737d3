# SPDX-License-Identifier: GPL-3.0-or-later
"""SIP over WebSocket (RFC 7118): one message a frame, the connection is the only way back."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from ssl import SSLContext

from aiohttp import WSMsgType, web

from sip.acceptor import SWEEP_SECONDS, Acceptor, Leave, Room, StreamLimits
from sip.effects import Address, Send
from sip.framing import PONG
from sip.handlers import Handlers
from sip.parser import MAX_MESSAGE
from sip.sockets import Bind

PROTOCOL = "sip"
_PING = b"\r\n\r\n"
_MAX_QUEUED = 256
_SILENT = logging.getLogger("voxdp.websocket.access")
_SILENT.disabled = True
Key = tuple[str, int]


class WebSocketTransport:
    """All WebSocket connections. origins: of the pages that may connect, () for any; a client that is no browser
    names none and is let in. Compression is off: it would let a small frame cost much.
    """

    def __init__(
        self,
        handlers: Handlers,
        limits: StreamLimits,
        origins: Sequence[str] = (),
        server_context: Callable[[], SSLContext] | None = None,
        bind: Bind | None = None,
    ) -> None:
        self.dropped = 0
        self.acceptor = Acceptor(limits, self._make_room, bind)
        self._handlers = handlers
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)
        self._context = server_context
        self._connections: dict[Key, _Talk] = {}
        self._room = Room(handlers.wanted)
        self._sweeper: asyncio.TimerHandle | None = None
        self._servers: dict[Address, web.Server] = {}
        self._closing = False

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def addresses(self) -> list[Address]:
        """The addresses that are open, with the ports that they have."""
        return self.acceptor.addresses

    def open(self, addresses: Iterable[Address]) -> None:
        """Listen on each address, of transport ws or wss. Raises TransportError."""
        for address in addresses:
            context = self._context if address.transport == "wss" else None
            self.acceptor.open(address, self._accepted, context)
        self._sweep()

    def has(self, target: Address) -> bool:
        """Whether there is a connection to a peer."""
        return (target.host, target.port) in self._connections

    def send(self, effect: Send) -> None:
        """Send one message by the connection of its target, which is lost without one."""
        talk = self._connections.get((effect.target.host, effect.target.port))
        if talk is None or talk.queue.full():
            self.dropped += 1
            self._handlers.undelivered(effect)
        else:
            talk.queue.put_nowait(effect.data)

    async def close(self) -> None:
        """Close all connections and listen no more."""
        self._closing = True
        self.acceptor.close()
        if self._sweeper:
            self._sweeper.cancel()
        for server in self._servers.values():
            await server.shutdown(1.0)
        self._servers.clear()

    def _accepted(self, _source: Address, local: Address, leave: Leave) -> asyncio.BaseProtocol:
        if local not in self._servers:
            self._servers[local] = web.Server(partial(self._serve, local))
        return _Connection(self._servers[local], leave, self.acceptor.limits)

    async def _serve(self, listening: Address, request: web.BaseRequest) -> web.StreamResponse:
        """One connection, from its upgrade to its end."""
        refusal = self._refusal(request)
        if refusal:
            return refusal
        limits = self.acceptor.limits
        socket = web.WebSocketResponse(
            protocols=(PROTOCOL,), max_msg_size=MAX_MESSAGE, compress=False, heartbeat=limits.idle / 4
        )
        await socket.prepare(request)
        assert request.transport
        peer = request.transport.get_extra_info("peername")
        source = Address(peer[0], peer[1], listening.transport, inbound=True)
        talk = self._connections[source.host, source.port] = _Talk(source, request.transport)
        writer = asyncio.create_task(_write(socket, talk.queue), name="websocket writer")
        try:
            await self._read(socket, talk, listening)
        finally:
            writer.cancel()
            if self._connections.get((source.host, source.port)) is talk:
                del self._connections[source.host, source.port]
                if not self._closing:
                    self._handlers.parted(source)
        return socket

    async def _read(self, socket: web.WebSocketResponse, talk: _Talk, local: Address) -> None:
        async for message in socket:
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                continue
            talk.heard = time.monotonic()
            data = message.data.encode() if message.type is WSMsgType.TEXT else message.data
            if data.strip(b"\r\n"):
                self._handlers.received(data, talk.peer, local)
            elif data == _PING and not talk.queue.full():
                talk.queue.put_nowait(PONG)

    def _make_room(self) -> bool:
        return self._room.make(self._connections.values())

    def _sweep(self) -> None:
        """Close those who say nothing and are not needed; answers to our own pings are nothing said."""
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)
        now = time.monotonic()
        idle = [each for each in self._connections.values() if now - each.heard > self.acceptor.limits.idle]
        wanted = self._handlers.wanted() if idle else frozenset()
        for talk in idle:
            if talk.peer not in wanted:
                talk.close()

    def _refusal(self, request: web.BaseRequest) -> web.Response | None:
        """What to say to one that is no SIP client, or a page of somebody else (RFC 7118 §4, RFC 6455 §10.2)."""
        origin = request.headers.get("Origin", "").lower().rstrip("/")
        if origin and self._origins and origin not in self._origins:
            return web.Response(status=403, text="this origin is not in sip.origins\n")
        offered = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
        if PROTOCOL not in (word.strip().lower() for word in offered):
            return web.Response(status=400, text="this is SIP over WebSocket: offer the subprotocol sip\n")
        return None


class _Talk:
    """A client that has upgraded its connection: what waits to be written to it, and when it was heard last."""

    __slots__ = ("_transport", "heard", "peer", "queue")

    def __init__(self, peer: Address, transport: asyncio.Transport) -> None:
        self.peer = peer
        self.queue: asyncio.Queue[bytes] = asyncio.Queue(_MAX_QUEUED)
        self.heard = time.monotonic()
        self._transport = transport

    def close(self) -> None:
        """End the connection below; whoever waits for its frames is told."""
        self._transport.close()


class _Connection(web.RequestHandler):
    """An HTTP connection that says when it is lost."""

    __slots__ = ("_leave",)

    def __init__(self, server: web.Server, leave: Leave, limits: StreamLimits) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), access_log=_SILENT, keepalive_timeout=limits.message)
        self._leave = leave

    def connection_lost(self, exc: BaseException | None) -> None:
        """Take it off the count."""
        super().connection_lost(exc)
        self._leave()


async def _write(socket: web.WebSocketResponse, queue: asyncio.Queue[bytes]) -> None:
    """Messages are text where they can be, as RFC 7118 §4.2 has it."""
    while True:
        data = await queue.get()
        try:
            text = data.decode()
        except UnicodeDecodeError:
            await socket.send_bytes(data)
        else:
            await socket.send_str(text)
