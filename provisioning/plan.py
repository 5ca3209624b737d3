# SPDX-License-Identifier: GPL-3.0-or-later
"""What routing knows of one tenant, in memory and constant; `refresh` replaces it when something of it changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from provisioning.hours import OpeningHours
from provisioning.numbering import DialPlan
from provisioning.prefixes import PrefixPrices

TrunkKey = tuple[int, str]
"""(tenant, name)"""
Srtp = Literal["off", "preferred", "required"]
RecordingPolicy = Literal["off", "on-demand", "all"]
RecordingConsent = Literal["required", "not-needed"]
Strategy = Literal["priority", "round_robin", "weighted", "least_cost", "geographic", "least_load"]


@dataclass(frozen=True, slots=True)
class Trunk:
    """A trunk as routing and signalling see it."""

    tenant: int
    name: str
    host: str
    port: int | None = None
    transport: str = "udp"
    domain: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    digest_realm: str = ""
    registration: bool = False
    expires_seconds: int = 3600
    probe_seconds: int = 30
    sources: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    trusted: bool = False
    refer: bool = False
    from_user: str | None = None
    media: str | None = None
    latch: bool = False
    ice: Literal["remove", "lite", "full"] | None = None
    srtp: Srtp | None = None
    dtmf: str = "auto"
    strip: int = 0
    prepend: str = ""
    caller_id: str = "caller"
    caller_number: str | None = None
    channel_limit: int | None = None
    setup_seconds: int = 8
    retry_causes: frozenset[int] = frozenset()
    rate_deck: str | None = None
    enabled: bool = True

    @property
    def key(self) -> TrunkKey:
        """What the trunk is found by."""
        return self.tenant, self.name


@dataclass(frozen=True, slots=True)
class Member:
    """A trunk of a route."""

    trunk: str
    priority: int = 0
    weight: int = 1
    region: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """Which trunks carry calls to numbers with a prefix; see `models.Route`."""

    name: str
    prefix: str = ""
    callers: frozenset[str] = frozenset()
    calendar: str | None = None
    priority: int = 0
    strategy: Strategy = "priority"
    overflow: bool = True
    emergency: bool = False
    max_price_micros: int | None = None
    trunks: tuple[Member, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """A ring group; members are user names of the tenant's realm."""

    name: str
    members: tuple[str, ...] = ()
    together: bool = True
    ring_seconds: int = 30
    overflow: str | None = None


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue as routing sees it: whether it is open, where calls go instead, and whether it answers them at once."""

    name: str
    calendar: str | None = None
    overflow: str | None = None
    answer: bool = True


@dataclass(frozen=True, slots=True)
class Number:
    """A number of the tenant and where it leads; closed: where to while the calendar is closed."""

    number: str
    user: str | None = None
    group: str | None = None
    queue: str | None = None
    calendar: str | None = None
    closed: str | None = None


@dataclass(frozen=True, slots=True)
class TenantPlan:
    """All of one tenant. routes: by prefix, in order of priority; extensions: of groups and queues."""

    tenant: int
    name: str = ""
    realm: str | None = None
    enabled: bool = True
    dial_plan: str | None = None
    default_number: str | None = None
    channel_limit: int | None = None
    spend_limit_micros: int | None = None
    media: str | None = None
    srtp: Srtp | None = None
    recording: RecordingPolicy | None = None
    recording_consent: RecordingConsent | None = None
    dial_plans: Mapping[str, DialPlan] = field(default_factory=dict)
    calendars: Mapping[str, OpeningHours] = field(default_factory=dict)
    numbers: Mapping[str, Number] = field(default_factory=dict)
    groups: Mapping[str, Group] = field(default_factory=dict)
    queues: Mapping[str, Queue] = field(default_factory=dict)
    extensions: Mapping[str, Group | Queue] = field(default_factory=dict)
    trunks: Mapping[str, Trunk] = field(default_factory=dict)
    routes: Mapping[str, tuple[Route, ...]] = field(default_factory=dict)
    restrictions: Mapping[str, str] = field(default_factory=dict)
    decks: Mapping[str, PrefixPrices] = field(default_factory=dict)

    def emergency_trunks(self) -> list[Trunk]:
        """Return the trunks for calls for help: those of routes kept for them, else every one there is."""
        routes = [route for same in self.routes.values() for route in same if route.emergency]
        names = dict.fromkeys(member.trunk for route in routes for member in route.trunks)
        kept = [self.trunks[name] for name in names if name in self.trunks and self.trunks[name].enabled]
        return kept or [trunk for trunk in self.trunks.values() if trunk.enabled]


def by_prefix(routes: Iterable[Route]) -> dict[str, tuple[Route, ...]]:
    """Return routes by their prefix, those of one prefix by priority and then by name."""
    found: dict[str, list[Route]] = {}
    for route in sorted(routes, key=lambda route: (route.priority, route.name)):
        found.setdefault(route.prefix, []).append(route)
    return {prefix: tuple(same) for prefix, same in found.items()}


EMPTY = TenantPlan(0)
