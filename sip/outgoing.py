# SPDX-License-Identifier: GPL-3.0-or-later
"""The INVITE that makes a callee's leg: all of it is our own, but for the few headers named here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sip.agent import ALLOWED, MAX_FORWARDS, SDP, Agent
from sip.effects import Address, Target, UriTarget, UserTarget
from sip.errors import ParseError
from sip.headers import NameAddr
from sip.message import Request
from sip.reach import literal, request_uri
from sip.registrar import Registrar
from sip.uri import Uri

DIALLED = ("udp", "tcp", "tls")
"""Transports by which we can go to a peer that has not come to us."""
PASSED_ON = ("Subject", "Priority", "Accept-Language")
"""The only headers that reach the other leg as they came. All else would tell of the caller's network, or promise
what only an end-to-end dialog can keep."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where an INVITE goes. uri: its request URI; to: the address of record in To; address: the next hop."""

    uri: str
    to: str
    address: Address


def destinations(targets: Iterable[Target], registrar: Registrar, host: str, now: float) -> Iterable[Destination]:
    """The targets of a route one by one, a user's contacts in order of preference.

    A URI whose host is a name has no address of its own, and so no destination here: names are not looked up.
    """
    for target in targets:
        if isinstance(target, UserTarget):
            for binding in registrar.contacts(target.username, now):
                yield Destination(request_uri(Uri.parse(binding.uri)), f"sip:{target.username}@{host}", binding.target)
        elif (address := _address(target)) is not None:
            yield Destination(target.uri, target.uri, address)


def first_invite(
    agent: Agent, incoming: Request, destination: Destination, local: Address, caller: str, tag: str, sdp: bytes
) -> Request:
    """Our INVITE to the callee. From names the user that was authenticated, with the display name it chose."""
    caller_uri = Uri.parse(f"sip:{caller}@{agent.settings.host}")
    identity = NameAddr(caller_uri, display=incoming.from_.display).with_tag(tag)
    hops = MAX_FORWARDS if incoming.max_forwards is None else min(incoming.max_forwards, MAX_FORWARDS + 1) - 1
    fields = [
        ("Via", agent.via(local)),
        ("Max-Forwards", str(hops)),
        ("From", str(identity)),
        ("To", f"<{destination.to}>"),
        ("Call-ID", agent.token()),
        ("CSeq", "1 INVITE"),
        agent.contact(local),
        ALLOWED,
        *((name, value) for name in PASSED_ON for value in incoming.values(name)),
        ("User-Agent", agent.settings.server),
    ]
    if sdp:
        fields.append(("Content-Type", SDP))
    return Request("INVITE", destination.uri, fields, sdp)


def _address(target: UriTarget) -> Address | None:
    try:
        address = target.address or literal(Uri.parse(target.uri))
    except ParseError:
        return None
    return address if address and address.transport in DIALLED else None
