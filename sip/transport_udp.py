# SPDX-License-Identifier: GPL-3.0-or-later
"""SIP over UDP: one socket for each address of ours. It moves datagrams and decides nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from functools import lru_cache

from sip.effects import Address, Send
from sip.parser import MAX_MESSAGE
from sip.sockets import Bind, bind

Handler = Callable[[bytes, Address, Address], None]
"""Takes a datagram that may be SIP or STUN, its source, and the address of ours that it came to."""

MAX_DATAGRAM = 65507
_RECEIVE_BUFFER = 4 << 20
_MAX_EARLY = 4096


class UdpTransport:
    """All UDP sockets of the signalling. `dropped` counts datagrams that were too large, or that failed to go out.

    undelivered: told of each that failed to. bind: who lends us sockets.

    What is to be sent before all sockets are open waits until they are, as when calls are taken up; so does what comes:
    a lent socket can be full of what came while nobody was there, and what that brings may have to leave by another.
    """

    def __init__(self, undelivered: Callable[[Send], None] = lambda effect: None, bind: Bind | None = None) -> None:
        self.dropped = 0
        self._bind = bind
        self._undelivered = undelivered
        self._sockets: dict[tuple[str, int], asyncio.DatagramTransport] = {}
        self._first: asyncio.DatagramTransport | None = None
        self._receivers: list[_Receiver] = []
        self._early: list[tuple[bytes, Address, Address]] = []
        self._unsent: list[Send] | None = []

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
                await self._open(address)
        except OSError:
            self.close()
            raise
        for receiver in self._receivers:
            receiver.handler = handler
        unsent, self._unsent = self._unsent or [], None
        for effect in unsent:
            self.send(effect)
        early, self._early = self._early, []
        for datagram in early:
            handler(*datagram)

    def send(self, effect: Send) -> None:
        """Send one message from its local address. What cannot be sent is lost, as on any network."""
        if self._unsent is not None and len(self._unsent) < _MAX_EARLY:
            self._unsent.append(effect)
            return
        local = effect.local
        transport = self._sockets.get((local.host, local.port)) if local else self._first
        try:
            if transport is None or len(effect.data) > MAX_DATAGRAM:
                raise ValueError
            transport.sendto(effect.data, (effect.target.host, effect.target.port))
        except (OSError, ValueError):
            self.dropped += 1
            self._undelivered(effect)

    def close(self) -> None:
        """Close all sockets."""
        for transport in self._sockets.values():
            transport.close()
        self._sockets.clear()
        self._receivers.clear()
        self._early.clear()
        self._first = None

    async def _open(self, address: Address) -> None:
        bound = (self._bind or bind)(address, socket.SOCK_DGRAM, (socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER))
        local = Address(address.host, bound.getsockname()[1])
        loop = asyncio.get_running_loop()
        receiver = _Receiver(self, local, self._hold)
        self._receivers.append(receiver)
        transport, _ = await loop.create_datagram_endpoint(lambda: receiver, sock=bound)
        self._sockets[local.host, local.port] = transport
        self._first = self._first or transport

    def _hold(self, data: bytes, source: Address, local: Address) -> None:
        if len(self._early) < _MAX_EARLY:
            self._early.append((data, source, local))
        else:
            self.dropped += 1


_address = lru_cache(maxsize=1024)(Address)
"""Who has sent something sends more, and what comes of it names its source: contacts, transactions, dialogs."""


class _Receiver(asyncio.DatagramProtocol):
    def __init__(self, owner: UdpTransport, local: Address, handler: Handler) -> None:
        self._owner = owner
        self._local = local
        self.handler = handler

    def datagram_received(self, data: bytes, peer: tuple[str, int]) -> None:
        """Keepalives of empty lines end here: they are for the NAT alone."""
        if not data.strip(b"\r\n\x00 "):
            return
        if len(data) > MAX_MESSAGE or peer[1] == 0:
            self._owner.dropped += 1
        else:
            self.handler(data, _address(peer[0], peer[1]), self._local)

    def error_received(self, exc: Exception) -> None:
        """An ICMP error of an earlier datagram: timers see to what comes of it."""
        self._owner.dropped += 1
