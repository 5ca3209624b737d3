# SPDX-License-Identifier: GPL-3.0-or-later
"""The INVITE that makes a callee's leg: all of it is our own, but for the few headers named here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from sip.agent import ALLOWED, EXTENSIONS, MAX_FORWARDS, SDP, Agent, Fields
from sip.causes import CARRIER_FAILS
from sip.effects import Address, After, Diversion, ServiceTarget, Target, TrunkTarget, UriTarget, UserTarget
from sip.errors import ParseError
from sip.facts import fact
from sip.history import retargeted
from sip.identity import Caller, diverted, escaped, identified
from sip.message import Request
from sip.reach import literal, request_uri
from sip.registrar import Registrar
from sip.reliable import TAG as RELIABLE
from sip.trunk import Trunk
from sip.uri import Uri, host_port

if TYPE_CHECKING:
    from sip.leg import Leg

WEB = ("ws", "wss")
"""Transports of phones that are web pages."""
DIALLED = ("udp", "tcp", "tls")
"""Transports by which we can go to a peer that has not come to us."""
PASSED_ON = ("Subject", "Priority", "Accept-Language")
"""The only headers that reach the other leg as they came. All else would tell of the caller's network, or promise
what only an end-to-end dialog can keep."""
_NEVER = frozenset(
    {
        *("via", "route", "record-route", "path", "service-route", "contact", "from", "to", "call-id", "cseq"),
        *("max-forwards", "content-length", "content-type", "authorization", "proxy-authorization"),
        *("proxy-authenticate", "www-authenticate", "require", "proxy-require", "supported", "allow", "rack", "rseq"),
        *("session-expires", "min-se", "replaces", "refer-to", "p-asserted-identity", "p-preferred-identity"),
        *("privacy", "diversion", "history-info", "remote-party-id", "user-agent", "server"),
    }
)
"""Headers that are ours to write, whatever the settings say."""


@fact
class Destination:
    """Where an INVITE goes. uri: its request URI; to: the address of record in To; address: the next hop.

    user: whose contact it is; trunk: which trunk's address. ring: seconds it may ring, 0: as the settings say. next_on:
    causes after which the next target is tried, None: the statuses usual for a user. The rest: see TrunkTarget.
    leg: a leg of another call that is to come over to this one; routes: the Route values that lead there.
    side: what it has in common with those whom one offer serves, of a group that rings together.
    service: what we ourselves do for the caller, in place of an INVITE; early: without answering it.
    """

    uri: str
    to: str
    address: Address
    user: str = ""
    trunk: str = ""
    ring: float = 0.0
    next_on: frozenset[int] | None = None
    caller_id: str = ""
    hidden: bool = False
    after: After = "any"
    setup: float = 0.0
    diversions: tuple[Diversion, ...] = ()
    urgent: bool = False
    leg: Leg | None = None
    routes: tuple[str, ...] = ()
    manner: str = ""
    side: str = ""
    service: str = ""
    early: bool = False


Group = tuple[Destination, ...]
"""Destinations that ring at the same time."""


def destinations(
    targets: Iterable[Target],
    registrar: Registrar,
    trunks: Mapping[str, Trunk],
    local_for: Callable[[Address], Address],
    host: str,
    now: float,
) -> Iterator[Group]:
    """The targets of a route in groups that ring together: contacts of equal preference, and targets beside others.

    One offer serves those of a group who face the same address of ours and whose media is treated alike: they are of
    one side. Web pages are of another, for they want another offer. A URI whose host is a name has no address of its
    own, and so no destination here: names are not looked up.
    """
    together: list[Destination] = []
    for target in targets:
        ranks = list(_ranks(target, registrar, trunks, host, now))
        if together and not target.beside:
            yield _group(together, local_for)
            together = []
        for rank in ranks[:-1]:
            yield _group([*together, *rank], local_for)
            together = []
        together += ranks[-1] if ranks else []
    if together:
        yield _group(together, local_for)


def first_invite(
    agent: Agent,
    incoming: Request,
    destination: Destination,
    local: Address,
    caller: Caller,
    trunk: Trunk | None,
    tag: str,
    sdp: bytes,
    diversions: Iterable[Diversion] = (),
    headers: Fields = (),
    reliable: bool = True,
    kin: str = "",
) -> Request:
    """Our INVITE to the callee.

    incoming: the caller's; trunk: the one it goes to; diversions: who sent it on before its route was found; reliable:
    whether 1xx may be; kin: the Call-ID of the call's other leg.
    """
    hops = MAX_FORWARDS if incoming.max_forwards is None else min(incoming.max_forwards, MAX_FORWARDS + 1) - 1
    host = agent.settings.host
    caller = replace(caller, hidden=True) if destination.hidden else caller
    before = (*destination.diversions, *diversions) if trunk or destination.user else ()
    ours = (trunk.ours or (trunk.domain if trunk.register else "")) if trunk else ""
    from_, identity = identified(caller, _shown(destination, caller, trunk), ours or host, ours or host, trunk)
    fields = [
        ("Via", agent.via(local)),
        ("Max-Forwards", str(hops)),
        *(("Route", route) for route in destination.routes),
        ("From", str(from_.with_tag(tag))),
        ("To", f"<{destination.to}>"),
        ("Call-ID", agent.call_id(kin)),
        ("CSeq", "1 INVITE"),
        agent.contact(local, agent.names.get(destination.trunk, "")),
        ALLOWED,
        ("Supported", ", ".join(word for word in EXTENSIONS if reliable or word != RELIABLE)),
        *identity,
        *diverted(before, caller, host, trunk, agent.settings.diversion),
        *retargeted(before, caller, destination.to, host, trunk, agent.settings.history_info),
        *_passed_on(incoming, agent.settings.pass_headers),
        *headers,
        ("User-Agent", agent.settings.server),
    ]
    if sdp:
        fields.append(("Content-Type", SDP))
    return Request("INVITE", destination.uri, fields, sdp)


def _shown(destination: Destination, caller: Caller, trunk: Trunk | None) -> str:
    return destination.caller_id or (trunk.from_user if trunk else "") or caller.name


def _passed_on(incoming: Request, patterns: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name in PASSED_ON:
        for value in incoming.values(name):
            yield name, value
    for name, value in incoming.fields() if patterns else ():
        key = name.lower()
        if key not in _NEVER and any(_matches(pattern.lower(), key) for pattern in patterns):
            yield name, value


def _matches(pattern: str, key: str) -> bool:
    return key.startswith(pattern[:-1]) if pattern.endswith("*") else key == pattern


def _ranks(
    target: Target, registrar: Registrar, trunks: Mapping[str, Trunk], host: str, now: float
) -> Iterator[list[Destination]]:
    """The destinations of one target, those of equal preference together."""
    match target:
        case UserTarget():
            live = registrar.contacts(target.username, now)
            for _, bindings in groupby(live, key=lambda binding: binding.q):
                yield [
                    Destination(
                        request_uri(Uri.parse(binding.uri)),
                        f"sip:{escaped(target.username)}@{host}",
                        binding.target,
                        user=target.username,
                        routes=binding.path,
                        ring=target.ring,
                        after=target.after,
                        diversions=target.diversions,
                        manner=target.manner,
                    )
                    for binding in bindings
                ]
        case UriTarget():
            address = _address(target)
            if address is not None:
                yield [
                    Destination(
                        target.uri,
                        target.uri,
                        address,
                        ring=target.ring,
                        after=target.after,
                        diversions=target.diversions,
                    )
                ]
        case ServiceTarget():
            nowhere = Address("", 0)
            yield [Destination("", "", nowhere, service=target.service, early=target.early, after=target.after)]
        case TrunkTarget():
            trunk = trunks.get(target.trunk)
            if trunk:
                yield from ([_by_trunk(target, trunk, address)] for address in trunk.addresses)


def _by_trunk(target: TrunkTarget, trunk: Trunk, address: Address) -> Destination:
    uri = f"sip:{escaped(target.number)}@{host_port(trunk.domain, None)}"
    return Destination(
        uri,
        uri,
        address,
        trunk=trunk.name,
        ring=target.ring,
        next_on=CARRIER_FAILS if target.next_on is None else target.next_on,
        caller_id=target.caller_id,
        hidden=target.hidden,
        after=target.after,
        setup=target.setup,
        diversions=target.diversions,
        urgent=target.urgent,
    )


def _group(members: Sequence[Destination], local_for: Callable[[Address], Address]) -> Group:
    if len(members) == 1:
        return (members[0],)
    return tuple(replace(each, side=_side(each, local_for(each.address))) for each in members)


def _side(destination: Destination, local: Address) -> str:
    way = "web" if destination.address.transport in WEB else ""
    return f"{local.host} {way} {destination.manner}"


def _address(target: UriTarget) -> Address | None:
    try:
        address = target.address or literal(Uri.parse(target.uri))
    except ParseError:
        return None
    return address if address and address.transport in DIALLED else None
