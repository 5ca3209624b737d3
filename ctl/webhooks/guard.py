# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a webhook may be sent to: a tenant names its address, and must not reach this host or its networks by it.

What counts is the address that is connected to, so names are looked up here and nowhere else, once for each connection;
a name that shows another address a moment later gains nothing.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from aiohttp.abc import AbstractResolver, ResolveResult

Network = IPv4Network | IPv6Network


class Forbidden(OSError):
    """A webhook leads to where none may be sent. The text names the key of the configuration that would allow it."""

    def __init__(self, address: str) -> None:
        text = f"{address} is no public address; webhooks.allow names networks that are allowed as well"
        super().__init__(errno.EACCES, text)


def check(address: str, allowed: Sequence[Network]) -> None:
    """Raise Forbidden unless an address is a public one, or in one of the allowed networks."""
    found = ip_address(address.partition("%")[0])
    inner = found.sixtofour if isinstance(found, IPv6Address) else None
    if isinstance(found, IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    for each in (found, inner) if inner else (found,):
        if any(each in network for network in allowed):
            continue
        if not each.is_global or each.is_multicast or each.is_reserved:
            raise Forbidden(address)
    if isinstance(found, IPv6Address) and found.teredo:
        raise Forbidden(address)


class GuardedResolver(AbstractResolver):
    """Looks names up, and knows nothing of addresses that must not be connected to."""

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name. Raises OSError, Forbidden if any of them must not be connected to."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        for entry in found:
            check(str(entry[4][0]), self._allowed)
        return [
            ResolveResult(
                hostname=host, host=str(entry[4][0]), port=int(entry[4][1]), family=entry[0], proto=entry[2],
                flags=socket.AI_NUMERICHOST,
            )
            for entry in found
        ]  # fmt: skip

    async def close(self) -> None:
        """Nothing is held."""
