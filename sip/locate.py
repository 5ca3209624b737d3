# SPDX-License-Identifier: GPL-3.0-or-later
"""Which questions of DNS lead from a SIP URI to addresses, and in what order the answers count (RFC 3263, RFC 2782).

Pure: `ctl.signalling.resolver` asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from sip.facts import fact
from sip.headers import DEFAULT_PORTS
from sip.uri import Uri

SERVICES = {"sip+d2u": "udp", "sip+d2t": "tcp", "sips+d2t": "tls"}
PREFIXES = {"udp": "_sip._udp.", "tcp": "_sip._tcp.", "tls": "_sips._tcp."}
BY_NAME = ("udp", "tcp", "tls")
"""Transports whose SRV records are asked for where no NAPTR record says which there are (§4.1)."""


@fact
class Srv:
    """One SRV record."""

    priority: int
    weight: int
    port: int
    target: str


@fact
class Naptr:
    """One NAPTR record; replacement: the name whose SRV records to ask for."""

    order: int
    preference: int
    flags: str
    service: str
    replacement: str


@fact
class Wanted:
    """What is looked for. transport: None where the URI leaves it open; port: None likewise."""

    host: str
    port: int | None
    transport: str | None
    secure: bool

    @classmethod
    def of(cls, uri: Uri) -> Wanted:
        """What a sip or sips URI asks for."""
        secure = uri.scheme == "sips"
        transport = "tls" if secure and uri.transport in (None, "tcp") else uri.transport
        return cls(uri.host.rstrip(".").lower(), uri.port, transport, secure)

    @property
    def fallback(self) -> tuple[str, int]:
        """Transport and port where only an address is found (§4.1, §4.2)."""
        transport = self.transport or ("tls" if self.secure else "udp")
        return transport, self.port or DEFAULT_PORTS.get(transport, 5060)


def services(records: Iterable[Naptr], wanted: Wanted) -> list[tuple[str, str]]:
    """Transport and name of the SRV records to ask for, the preferred first."""
    found = []
    for record in sorted(records, key=lambda each: (each.order, each.preference)):
        transport = SERVICES.get(record.service.lower())
        if transport and record.flags.lower() == "s" and wanted.transport in (None, transport):
            found.append((transport, record.replacement.rstrip(".").lower()))
    return found


def guesses(wanted: Wanted) -> list[tuple[str, str]]:
    """The same where there is no NAPTR record."""
    transports: Sequence[str] = (wanted.transport,) if wanted.transport else BY_NAME
    return [(each, PREFIXES[each] + wanted.host) for each in transports if each in PREFIXES]


def ordered(records: Iterable[Srv], pick: Callable[[int], int]) -> list[Srv]:
    """By priority, and within one at random by weight (RFC 2782). pick(n): a random number from 0 to n.

    A single record whose target is the root says that there is no such service.
    """
    left = sorted(records, key=lambda each: (each.priority, each.weight))
    found: list[Srv] = []
    while left:
        equal = [each for each in left if each.priority == left[0].priority]
        chosen = _weighted(equal, pick(sum(each.weight for each in equal)))
        left.remove(chosen)
        found.append(chosen)
    return [each for each in found if each.target.rstrip(".")]


def _weighted(records: Sequence[Srv], number: int) -> Srv:
    for record in records:
        number -= record.weight
        if number <= 0:
            return record
    return records[-1]
