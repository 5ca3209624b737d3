# SPDX-License-Identifier: GPL-3.0-or-later
"""SIP over UDP: one socket for each address of ours. It moves datagrams and decides nothing."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Iterable
from typing import cast

from sip.effects import Address, Send
from sip.parser import MAX_MESSAGE
from sip.stun import binding_response, is_stun
from sip.uri import host_port

Handler = Callable[[bytes, Address, Address], None]
"""Takes a datagram that may be SIP, its source, and the address of ours that it came to."""

_RECEIVE_BUFFER = 4 << 20
_REMEDIES = {
    errno.EADDRINUSE: "port {port} is in use on {host}; stop the program that has it, or choose another port",
    errno.EADDRNOTAVAIL: "{host} is no address of this host; choose one of those that `ip address` shows",
    errno.EACCES: "port {port} on {host} may not be opened by this user; choose a port above 1023",
}


class TransportError(OSError):
    """A socket cannot be opened; the text is one line that names the remedy."""


class UdpTransport:
    """All UDP sockets of the signalling. `dropped` counts datagrams that were too large, or that failed to go out."""

    def __init__(self) -> None:
        self.dropped = 0
        self._sockets: dict[tuple[str, int], asyncio.DatagramTransport] = {}
        self._first: asyncio.DatagramTransport | None = None

    @property
    def addresses(self) -> list[Address]:
        """The addresses that are open, with the ports that they have."""
        return [Address(host, port) for host, port in self._sockets]

    async def open(self, addresses: Iterable[Address], handler: Handler) -> None:
        """Open a socket for each address, or none at all. Raises TransportError.

        A port of 0 takes any free one. Addresses are those of interfaces: an answer has to leave from where its
        request came to, which a socket on all addresses does not know.
        """
        try:
            for address in addresses:
                await self._open(address, handler)
        except OSError:
            self.close()
            raise

    def send(self, effect: Send) -> None:
        """Send one message from its local address. What cannot be sent is lost, as on any network."""
        local = effect.local
        transport = self._sockets.get((local.host, local.port)) if local else self._first
        if transport is None or len(effect.data) > MAX_MESSAGE:
            self.dropped += 1
            return
        try:
            transport.sendto(effect.data, (effect.target.host, effect.target.port))
        except (OSError, ValueError):
            self.dropped += 1

    def close(self) -> None:
        """Close all sockets."""
        for transport in self._sockets.values():
            transport.close()
        self._sockets.clear()
        self._first = None

    async def _open(self, address: Address, handler: Handler) -> None:
        bound = _bind(address)
        local = Address(address.host, bound.getsockname()[1])
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Receiver(self, local, handler), sock=bound)
        self._sockets[local.host, local.port] = transport
        self._first = self._first or transport


class _Receiver(asyncio.DatagramProtocol):
    def __init__(self, owner: UdpTransport, local: Address, handler: Handler) -> None:
        self._owner = owner
        self._local = local
        self._handler = handler
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; that of uvloop is no subclass of asyncio's, so its type cannot be tested."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, peer: tuple[str, int]) -> None:
        """Keepalives end here: empty lines are for the NAT alone, STUN wants to know its address."""
        if not data.strip(b"\r\n\x00 "):
            return
        source = Address(peer[0], peer[1])
        if is_stun(data):
            answer = binding_response(data, source)
            if answer and self._transport:
                self._transport.sendto(answer, peer)
        elif len(data) > MAX_MESSAGE or peer[1] == 0:
            self._owner.dropped += 1
        else:
            self._handler(data, source, self._local)

    def error_received(self, exc: Exception) -> None:
        """An ICMP error of an earlier datagram: timers see to what comes of it."""
        self._owner.dropped += 1


def _bind(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_DGRAM)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        bound.bind((address.host, address.port))
    except OSError as error:
        bound.close()
        text = _REMEDIES.get(error.errno or 0, "cannot listen on {where}: {why}; check the address and the port")
        where = host_port(address.host, address.port)
        line = text.format(host=address.host, port=address.port, where=where, why=error.strerror)
        raise TransportError(error.errno, line) from None
    return bound
