# SPDX-License-Identifier: GPL-3.0-or-later
"""All transports of the signalling as one: what is listened on, and which of them a message goes by."""

from __future__ import annotations

from collections.abc import Sequence

from ctl.signalling.tls import Tls
from ctl.signalling.websocket import WebSocketTransport
from sip.acceptor import StreamLimits
from sip.effects import Address, Send
from sip.handlers import Handlers
from sip.outgoing import WEB
from sip.sockets import Bind
from sip.transport_stream import StreamTransport
from sip.transport_udp import UdpTransport

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
        self._web = WebSocketTransport(handlers, limits, origins, server, bind)

    @property
    def addresses(self) -> list[Address]:
        """The addresses that are open, with the ports that they have."""
        return [*self._udp.addresses, *self._streams.addresses, *self._web.addresses]

    @property
    def dropped(self) -> int:
        """How many messages could not go out, or were too long to come in."""
        return self._udp.dropped + self._streams.dropped + self._web.dropped

    def connections(self) -> dict[str, int]:
        """How many connections are open, and how many were refused because of a limit."""
        acceptors = self._streams.acceptor, self._web.acceptor
        refused = sum(each.refused for each in acceptors)
        return {"open": len(self._streams) + len(self._web), "refused": refused}

    async def open(self, addresses: Sequence[Address]) -> None:
        """Listen on each address, or on none. Raises TransportError."""
        try:
            datagrams = [each for each in addresses if each.transport == "udp"]
            await self._udp.open(datagrams, self._handlers.received)
            self._streams.open([each for each in addresses if each.transport in STREAMS])
            self._web.open([each for each in addresses if each.transport in WEB])
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
        else:
            self._web.send(effect)

    def connected(self, target: Address) -> bool:
        """Whether there is a connection to this peer."""
        return (self._streams if target.transport in STREAMS else self._web).has(target)

    def certificate_names(self, address: Address) -> tuple[str, ...]:
        """The names in the verified certificate of the peer at `address`; () where it has shown none."""
        return self._streams.certificate_names(address)

    async def close(self) -> None:
        """Close everything."""
        self._udp.close()
        self._streams.close()
        await self._web.close()
