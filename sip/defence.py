# SPDX-License-Identifier: GPL-3.0-or-later
"""What strangers may cost: requests of one source, bytes that it hears, and silence for those that try doors.

Nothing here answers: whoever is over a limit hears nothing, so that a forged source gets no packets through us. A
source that somebody has authenticated from, or that a trunk is at, is known: it has far more room and is never banned,
for a stranger could forge it. All tables are bounded; the entry that was used longest ago goes first.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import lru_cache
from ipaddress import ip_address
from typing import TypeVar

from sip.effects import Address
from sip.settings import Settings

MAX_SOURCES = 50_000
CREDIT, CREDIT_REGAINED = 1000.0, 20.0
"""Bytes that a stranger hears beyond `amplification`, at once and per second: for probes, which are short."""
CREDIT_OF_ALL, CREDIT_OF_ALL_REGAINED = 100_000.0, 20_000.0
"""The same of all strangers together, so that as many forged sources as one likes make no more of it."""
SCANNERS = re.compile(
    r"friendly-(?:scanner|request)|sipvicious|sipcli|sundayddr|sip-?scan|vaxsipuseragent|siparmyknife|sv(?:map|war|crack)\b|"
    r"^iwar\b|^smap\b|pplsip|voip_?scan|nmap|zgrab|masscan",
    re.IGNORECASE,
)
"""Programs that look for open doors, by what they say of themselves."""
KNOWN_FOR = 7 * 24 * 3600.0
"""Seconds for which a source is known after somebody authenticated from it."""

K = TypeVar("K", bound=Hashable)


class Buckets:
    """Token buckets: `rate` a second, at most `burst` at once; rate 0: no limit."""

    def __init__(self, rate: float, burst: float, capacity: int = MAX_SOURCES) -> None:
        self.rate, self.burst = rate, burst
        self._capacity = capacity
        self._levels: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._levels)

    def take(self, key: Hashable, now: float, share: float = 1.0) -> bool:
        """Whether there is a token for `key`; share: part of a token that it costs."""
        if not self.rate:
            return True
        level, since = self._levels.get(key, (self.burst, now))
        level = min(self.burst, level + (now - since) * self.rate)
        allowed = level >= share
        self._levels[key] = (level - share if allowed else level, now)
        self._levels.move_to_end(key)
        if len(self._levels) > self._capacity:
            self._levels.popitem(last=False)
        return allowed

    def empty(self, key: Hashable, now: float) -> bool:
        """Whether there is none."""
        level, since = self._levels.get(key, (self.burst, now))
        return bool(self.rate) and level + (now - since) * self.rate < 1.0


class Defence:
    """Judges each datagram and each request by its source; `dropped` counts by reason."""

    def __init__(self, settings: Settings) -> None:
        self.dropped = {"rate": 0, "scanner": 0, "banned": 0, "amplification": 0}
        self._settings = settings
        self._requests = Buckets(settings.requests_per_source, settings.requests_per_source * 4)
        self._offences = Buckets(settings.offences_forgiven, settings.offences)
        self._credits = Buckets(CREDIT_REGAINED, CREDIT)
        self._credit = Buckets(CREDIT_OF_ALL_REGAINED, CREDIT_OF_ALL)
        self._banned: OrderedDict[str, float] = OrderedDict()
        self._known: OrderedDict[str, float] = OrderedDict()
        self._trusts: Callable[[str], bool] = lambda host: False
        self.tell: Callable[[str], None] = lambda host: None
        """Told of each network that is banned, for those that serve the same addresses."""

    def admits(self, source: Address, now: float) -> bool:
        """Whether to read on what came from `source`."""
        host = network(source.host)
        until = self._banned.get(host)
        if until is not None:
            if until > now:
                self.dropped["banned"] += 1
                return False
            del self._banned[host]
        share = 1.0 / self._settings.known_factor if self.knows(source, now) else 1.0
        if self._requests.take(host, now, share):
            return True
        self.dropped["rate"] += 1
        return False

    def may_be_forged(self, source: Address, now: float) -> bool:
        """Whether somebody else may be who hears what we answer: a datagram of a source that is not known."""
        return not source.reliable and not self.knows(source, now)

    def fits(self, source: Address, asked: int, answer: int, now: float) -> bool:
        """Whether an answer of so many bytes is in proportion to a datagram of so many from `source`."""
        factor = self._settings.amplification
        return answer <= asked * factor or not factor or not self.may_be_forged(source, now)

    def spares(self, source: Address, asked: int, answer: int, now: float) -> bool:
        """Whether to send an answer all the same that is not, at the cost of its source's credit and of everybody's."""
        beyond = answer - asked * self._settings.amplification
        return self._credits.take(network(source.host), now, beyond) and self._credit.take("", now, beyond)

    def refrain(self) -> None:
        """An answer was out of proportion, and there was no credit for it: it is not sent."""
        self.dropped["amplification"] += 1

    def scans(self, agent: str | None, source: Address, now: float) -> bool:
        """Whether the program that calls itself so looks for open doors; its source is banned."""
        if not agent or not is_scanner(agent) or self.knows(source, now):
            return False
        self.dropped["scanner"] += 1
        self._ban(network(source.host), now)
        return True

    def offend(self, source: Address, now: float) -> None:
        """A request from `source` was malformed, for nobody here, or by a wrong password: too many make a ban."""
        host = network(source.host)
        if not self.knows(source, now) and not self._offences.take(host, now):
            self._ban(host, now)

    def know(self, source: Address, now: float) -> None:
        """Somebody has authenticated from `source`."""
        host = network(source.host)
        self._known[host] = now + KNOWN_FOR
        self._known.move_to_end(host)
        if len(self._known) > MAX_SOURCES:
            self._known.popitem(last=False)

    def trust(self, trusts: Callable[[str], bool]) -> None:
        """The addresses of trunks are those for which this function says so."""
        self._trusts = lru_cache(maxsize=4096)(trusts)

    def knows(self, source: Address, now: float) -> bool:
        """Whether somebody has, not too long ago, or it is a trunk's."""
        return self._known.get(network(source.host), 0.0) > now or self._trusts(source.host)

    def _ban(self, host: str, now: float) -> None:
        if self._settings.ban:
            self.ban(host, now)
            self.tell(host)

    def ban(self, host: str, now: float) -> None:
        """Ignore a network, as others do."""
        self._banned[host] = now + self._settings.ban
        self._banned.move_to_end(host)
        if len(self._banned) > MAX_SOURCES:
            self._banned.popitem(last=False)


@lru_cache(maxsize=512)
def is_scanner(agent: str) -> bool:
    """Whether a User-Agent is that of a scanner."""
    return SCANNERS.search(agent) is not None


def network(host: str) -> str:
    """The source as it is counted: an IPv4 address, the /64 of an IPv6 one, of which a host has as many as it likes."""
    return host if ":" not in host else _network(host)


@lru_cache(maxsize=4096)
def _network(host: str) -> str:
    address = ip_address(host.partition("%")[0])
    return address.packed[:8].hex()
