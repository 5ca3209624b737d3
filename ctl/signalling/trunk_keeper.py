# SPDX-License-Identifier: GPL-3.0-or-later
"""Gives signalling its trunks, those of the configuration and those of the database, their names looked up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

import structlog

from ctl.signalling.section import TrunkSection
from provisioning.plan import Trunk as Provisioned
from provisioning.snapshot import Snapshot
from sip.client_auth import Login
from sip.effects import Address
from sip.errors import ParseError
from sip.trunk import Trunk, network
from sip.uri import Uri, host_port

LOOK_SECONDS = 30.0
"""How often names are looked up again; the resolver remembers for as long as DNS says."""

log = structlog.get_logger()


class Keeper(Protocol):
    """What is asked of `provisioning.refresh.SnapshotKeeper`."""

    @property
    def current(self) -> Snapshot:
        """The newest snapshot."""

    async def renewed(self) -> None:
        """Wait until a newer one is there."""


class Locator(Protocol):
    """What is asked of `ctl.signalling.resolver.Resolver`."""

    async def locate(self, uri: Uri) -> tuple[Address, ...]:
        """Where a URI leads, in the order to try."""


class TrunkKeeper:
    """`run` keeps the trunks fresh until it is cancelled. tell: takes all of them."""

    def __init__(
        self,
        sections: Sequence[TrunkSection],
        keeper: Keeper,
        locator: Locator,
        tell: Callable[[Iterable[Trunk]], None],
    ) -> None:
        self._sections = sections
        self._keeper = keeper
        self._locator = locator
        self._tell = tell
        self._told: tuple[Trunk, ...] | None = None
        self.nowhere: dict[str, str] = {}
        """Trunks that have no address now, and so are none yet, each with its domain."""
        self._missing: dict[str, str] = {}

    async def run(self) -> None:
        """Look, tell, wait for a change; for ever."""
        while True:
            await self.look()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._keeper.renewed()

    async def look(self) -> None:
        """Tell the trunks as they are now, if they are not as they were."""
        self._missing = {}
        configured = [await self._configured(section) for section in self._sections]
        plans = self._keeper.current.plans.values()
        provisioned = [await self._provisioned(trunk) for plan in plans for trunk in plan.trunks.values()]
        found = tuple(trunk for trunk in (*configured, *provisioned) if trunk)
        self.nowhere = self._missing
        if found != self._told:
            self._told = found
            self._tell(found)

    async def _configured(self, section: TrunkSection) -> Trunk | None:
        uris = section.proxies or (f"sip:{host_port(section.domain, None)}",)
        addresses = await self._located(section.name, section.domain, uris)
        password = section.password.get_secret_value()
        if not addresses:
            return None
        return Trunk(
            name=section.name,
            domain=section.domain,
            addresses=addresses,
            login=Login(section.username, password, section.realm) if section.username else None,
            register=section.registration,
            expires=section.expires,
            sources=tuple(network(str(each)) for each in section.sources) or _hosts(addresses),
            certificates=section.certificates,
            channels=section.channels,
            probe=section.probe,
            trusted=section.trusted,
            refer=section.refer,
            from_user=section.from_user,
        )

    async def _provisioned(self, trunk: Provisioned) -> Trunk | None:
        if not trunk.enabled:
            return None
        name = key_text(trunk.tenant, trunk.name)
        uri = f"sip:{host_port(trunk.host, trunk.port)};transport={trunk.transport}"
        addresses = await self._located(name, trunk.domain or trunk.host, (uri,))
        if not addresses:
            return None
        return Trunk(
            name=name,
            domain=trunk.domain or trunk.host,
            addresses=addresses,
            login=Login(trunk.username, trunk.password or "", trunk.digest_realm) if trunk.username else None,
            register=trunk.registration,
            expires=trunk.expires_seconds,
            sources=tuple(map(network, trunk.sources)) or _hosts(addresses),
            certificates=trunk.certificates,
            channels=trunk.channel_limit or 0,
            probe=trunk.probe_seconds,
            trusted=trunk.trusted,
            refer=trunk.refer,
            from_user=trunk.from_user or "",
        )

    async def _located(self, name: str, domain: str, uris: Iterable[str]) -> tuple[Address, ...]:
        found: list[Address] = []
        for uri in uris:
            try:
                found += await self._locator.locate(Uri.parse(uri))
            except ParseError:
                log.error("trunk is reached by no SIP URI", trunk=name, uri=uri)
        if not found:
            log.warning("trunk has no address now", trunk=name)
            self._missing[name] = domain
        return tuple(dict.fromkeys(found))


def key_text(tenant: int, name: str) -> str:
    """A trunk of the database as signalling names it; those of the configuration have no slash."""
    return f"{tenant}/{name}"


def key_of(text: str) -> tuple[int, str] | None:
    """Tenant and name of a trunk of the database, None for one of the configuration."""
    tenant, slash, name = text.partition("/")
    return (int(tenant), name) if slash else None


def _hosts(addresses: Iterable[Address]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(network(address.host) for address in addresses)
