# SPDX-License-Identifier: GPL-3.0-or-later
"""All transports of the signalling as one: what is listened on, and which of them a message goes by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from ssl import SSLContext
from typing import TYPE_CHECKING

from ctl.signalling.tls import Tls
from sip.acceptor import StreamLimits
from sip.effects import Address, Send
from sip.handlers import Handlers
from sip.outgoing import WEB
from sip.sockets import Bind
from sip.transport_stream import StreamTransport
from sip.transport_udp import UdpTransport

if TYPE_CHECKING:
    from ctl.signalling.websocket import WebSocketTransport

STREAMS = ("tcp", "tls")


class Transports:
    """UDP, TCP, TLS and WebSocket sockets. tls: None where nothing secure is asked for. bind: who lends us sockets."""

    def __init__(
        self,
        handlers: Handlers,
        limits: StreamLimits,
        tls: Tls | None,
        origins: Sequence[str] = (),
        bind: Bind | None = None,
    ) -> None:
        self._handlers = handlers
        self._udp = UdpTransport(handlers.undelivered, bind)
        server, client = (tls.server, tls.client) if tls else (None, None)
        self._streams = StreamTransport(handlers, limits, server, client, bind)
        self._web: WebSocketTransport | None = None
        self._make_web = partial(_web_transport, handlers, limits, origins, server, bind)

    @property
    def addresses(self) -> list[Address]:
        """The addresses that are open, with the ports that they have."""
        return [*self._udp.addresses, *(address for each in self._connecting() for address in each.addresses)]

    @property
    def dropped(self) -> int:
        """How many messages could not go out, or were too long to come in."""
        return self._udp.dropped + sum(each.dropped for each in self._connecting())

    def connections(self) -> dict[str, int]:
        """How many connections are open, and how many were refused because of a limit."""
        transports = self._connecting()
        return {"open": sum(map(len, transports)), "refused": sum(each.acceptor.refused for each in transports)}

    async def open(self, addresses: Sequence[Address]) -> None:
        """Listen on each address, or on none. Raises TransportError."""
        try:
            datagrams = [each for each in addresses if each.transport == "udp"]
            await self._udp.open(datagrams, self._handlers.received)
            self._streams.open([each for each in addresses if each.transport in STREAMS])
            if web := [each for each in addresses if each.transport in WEB]:
                self._web = self._make_web()
                self._web.open(web)
        except OSError:
            await self.close()
            raise

    def send(self, effect: Send) -> None:
        """Send one message by its target's transport."""
        transport = effect.target.transport
        if transport == "udp":
            self._udp.send(effect)
        elif transport in STREAMS:
            self._streams.send(effect)
        elif self._web is not None:
            self._web.send(effect)
        else:
            self._handlers.undelivered(effect)

    def connected(self, target: Address) -> bool:
        """Whether there is a connection to this peer."""
        transport = self._streams if target.transport in STREAMS else self._web
        return transport is not None and transport.has(target)

    def certificate_names(self, address: Address) -> tuple[str, ...]:
        """The names in the verified certificate of the peer at `address`; () where it has shown none."""
        return self._streams.certificate_names(address)

    async def close(self) -> None:
        """Close everything."""
        self._udp.close()
        self._streams.close()
        if self._web is not None:
            await self._web.close()

    def _connecting(self) -> list[StreamTransport | WebSocketTransport]:
        return [self._streams, *([self._web] if self._web is not None else [])]


def _web_transport(
    handlers: Handlers,
    limits: StreamLimits,
    origins: Sequence[str],
    server: Callable[[], SSLContext] | None,
    bind: Bind | None,
) -> WebSocketTransport:
    """Only whom web pages call needs all that speaks HTTP."""
    from ctl.signalling.websocket import WebSocketTransport

    return WebSocketTransport(handlers, limits, origins, server, bind)
