# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses of SIP URIs by DNS: NAPTR, SRV, A and AAAA (RFC 3263), each answer kept as long as it says."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import structlog

from sip.effects import Address, Target, UriTarget
from sip.errors import ParseError
from sip.locate import Naptr, Srv, Wanted, guesses, ordered, services
from sip.outgoing import DIALLED
from sip.reach import literal
from sip.uri import Uri

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver as Dns

QUESTION_SECONDS = 2.0
PATIENCE = 5.0
"""Seconds for all questions of one URI."""
SHORTEST, LONGEST, NEGATIVE = 5.0, 3600.0, 15.0
"""Seconds that an answer is kept: at least, at most, and where there was none."""
MAX_KEPT = 4096
MAX_TARGETS = 16

log = structlog.get_logger()


class Resolver:
    """Asks, and remembers. `later` is for callers that must not wait."""

    def __init__(
        self,
        resolver: Dns | None = None,
        pick: Callable[[int], int] = lambda limit: random.SystemRandom().randint(0, limit),
    ) -> None:
        self._resolver = resolver
        self._pick = pick
        self._kept: dict[tuple[str, str], tuple[float, list[Any]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def locate(self, uri: Uri) -> tuple[Address, ...]:
        """Where a sip or sips URI leads, in the order to try; () where nowhere, or not within PATIENCE."""
        address = literal(uri)
        if address:
            return (address,)
        try:
            async with asyncio.timeout(PATIENCE):
                found = await self._locate(Wanted.of(uri))
        except TimeoutError:
            log.warning("no answer from DNS", name=uri.host)
            found = []
        return tuple(dict.fromkeys(found))[:MAX_TARGETS]

    def needed(self, targets: Sequence[Target]) -> bool:
        """Whether a target has a name in place of an address."""
        return any(isinstance(each, UriTarget) and _name_in(each) is not None for each in targets)

    def later(self, targets: Sequence[Target], then: Callable[[tuple[Target, ...]], None]) -> None:
        """Call `then` with these targets, each that has a name replaced by one for each of its addresses."""
        task = asyncio.create_task(self._resolve(targets, then), name="resolver")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Ask no more."""
        for task in self._tasks:
            task.cancel()

    async def _resolve(self, targets: Sequence[Target], then: Callable[[tuple[Target, ...]], None]) -> None:
        found: list[Target] = []
        for target in targets:
            uri = _name_in(target) if isinstance(target, UriTarget) else None
            if uri is None or not isinstance(target, UriTarget):
                found.append(target)
            else:
                addresses = (each for each in await self.locate(uri) if each.transport in DIALLED and _may_be(each))
                found += [replace(target, address=each) for each in addresses]
        then(tuple(found))

    async def _locate(self, wanted: Wanted) -> list[Address]:
        if wanted.port is None:
            names = services(await self._naptr(wanted.host), wanted) or guesses(wanted)
            found = [address for transport, name in names for address in await self._by_srv(name, transport, wanted)]
            if found:
                return found
        transport, port = wanted.fallback
        return await self._addresses(wanted.host, port, transport, wanted.host)

    async def _by_srv(self, name: str, transport: str, wanted: Wanted) -> list[Address]:
        records = [
            Srv(each.priority, each.weight, each.port, each.target.to_text()) for each in await self._ask(name, "SRV")
        ]
        return [
            address
            for record in ordered(records, self._pick)
            for address in await self._addresses(record.target, record.port, transport, wanted.host)
        ]

    async def _naptr(self, host: str) -> list[Naptr]:
        return [
            Naptr(
                each.order,
                each.preference,
                each.flags.decode("ascii", "replace"),
                each.service.decode("ascii", "replace"),
                each.replacement.to_text(),
            )
            for each in await self._ask(host, "NAPTR")
        ]

    async def _addresses(self, host: str, port: int, transport: str, name: str) -> list[Address]:
        """IPv6 and IPv4 addresses of a host; `name` is whose certificate it must show (RFC 5922 §4)."""
        found = [each.address for kind in ("AAAA", "A") for each in await self._ask(host, kind)]
        hosts = found or await self._by_system(host.rstrip("."), port)
        return [Address(each, port, transport, name=name) for each in hosts]

    async def _by_system(self, host: str, port: int) -> list[str]:
        """What this host knows beyond DNS, as in /etc/hosts."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port)
        except OSError:
            return []
        return list(dict.fromkeys(str(each[4][0]) for each in found))

    async def _ask(self, name: str, kind: str) -> list[Any]:
        """The records of a name, from memory while they last."""
        now = time.monotonic()
        until, records = self._kept.get((name, kind), (0.0, []))
        if until > now:
            return records
        records, lifetime = await self._asked(name, kind)
        if len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[name, kind] = (now + lifetime, records)
        return records

    async def _asked(self, name: str, kind: str) -> tuple[list[Any], float]:
        from dns.asyncresolver import get_default_resolver  # only who looks names up needs all that
        from dns.exception import DNSException

        try:
            resolver = self._resolver or get_default_resolver()
            answer = await resolver.resolve(name, kind, lifetime=QUESTION_SECONDS, search=False)
        except (DNSException, OSError, ValueError):
            return [], NEGATIVE
        lifetime = min(max(float(answer.rrset.ttl if answer.rrset else 0), SHORTEST), LONGEST)
        return list(answer), lifetime


def _may_be(address: Address) -> bool:
    """Whether somebody else's DNS may point us there."""
    host = ip_address(address.host)
    host = getattr(host, "ipv4_mapped", None) or host
    return not (host.is_loopback or host.is_link_local or host.is_multicast or host.is_unspecified or host.is_reserved)


def _name_in(target: UriTarget) -> Uri | None:
    """The URI of a target whose address is yet to be found."""
    if target.address is not None:
        return None
    try:
        uri = Uri.parse(target.uri)
    except ParseError:
        return None
    return uri if uri.is_sip and literal(uri) is None else None
