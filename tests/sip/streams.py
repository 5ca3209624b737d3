# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of stream transports share: handlers that remember, and clients that say anything."""

from __future__ import annotations

import asyncio
from collections.abc import Set

from sip.effects import Address, Send
from sip.errors import ParseError
from tests.patience import PATIENCE

REQUEST = b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK1\r\nContent-Length: 3\r\n\r\nabc"


class Heard:
    """Handlers that keep all that they are told."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[tuple[bytes, Address, Address]] = asyncio.Queue()
        self.errors: list[ParseError] = []
        self.lost: list[Send] = []
        self.peers: set[Address] = set()
        self.gone: list[Address] = []

    def received(self, data: bytes, source: Address, local: Address) -> None:
        self.messages.put_nowait((data, source, local))

    def unreadable(self, error: ParseError, source: Address, local: Address) -> None:
        self.errors.append(error)

    def undelivered(self, effect: Send) -> None:
        self.lost.append(effect)

    def parted(self, peer: Address) -> None:
        self.gone.append(peer)

    def wanted(self) -> Set[Address]:
        return self.peers

    async def next(self) -> tuple[bytes, Address, Address]:
        return await asyncio.wait_for(self.messages.get(), PATIENCE)


async def until(condition) -> None:
    """Wait for what other tasks bring about."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


async def ended(reader: asyncio.StreamReader) -> bytes:
    """All that still comes, up to the end of the connection."""
    try:
        return await asyncio.wait_for(reader.read(), PATIENCE)
    except ConnectionError:
        return b""
