# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a message for a peer goes: NAT is the rule, so the packet's source counts for more than a Contact."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from sip.effects import Address
from sip.headers import DEFAULT_PORTS
from sip.uri import Uri

DEFAULT_PORT = 5060
NEEDS_TLS = "SIPS Contact Needs TLS"
SECURE = ("tls", "wss")
"""Transports by which a sips URI may be reached: it promises TLS on each hop (RFC 3261 §26.2.2, RFC 5630 §3.1)."""


def reach(contact: Uri, source: Address) -> Address:
    """Where to send to a peer that names `contact` in a message from `source`.

    By its connection, where it has one to us: what a Contact says of ports is a guess then (RFC 5923). Over datagrams
    its own address, and the port it names only where it names that address: a peer behind NAT is reached at the
    source, and no peer can point us at a third party.
    """
    if source.reliable:
        return source
    if hidden(contact.host, source):
        return Address(source.host, source.port, source.transport, True, source.name, source.certified)
    return Address(source.host, contact.port or DEFAULT_PORT, source.transport)


def hidden(host: str, source: Address) -> bool:
    """Whether a peer whose datagrams come from `source` calls itself `host` because it is behind NAT."""
    return not source.reliable and host != source.host and host.lower() != source.host.lower()


def breaks_promise(contact: Uri, peer: Address) -> bool:
    """Whether a peer names itself by a sips URI that we could not follow: we speak with it without TLS."""
    return contact.scheme == "sips" and peer.transport not in SECURE


def request_uri(contact: Uri) -> str:
    """A peer's URI as a request line may name it: without headers and method (RFC 3261 §19.1.1, table 1)."""
    if contact.headers is None and "method" not in contact.params:
        return str(contact)
    return str(replace(contact, headers=None, params=contact.params.without("method"), text=""))


def literal(uri: Uri) -> Address | None:
    """The address in a URI whose host is an IP address, None for a name."""
    try:
        host = str(ip_address(uri.host))
    except ValueError:
        return None
    transport = "tls" if uri.scheme == "sips" else uri.transport or "udp"
    return Address(host, uri.port or default_port(transport), transport)


def default_port(transport: str) -> int:
    """The port of a URI that names none."""
    return DEFAULT_PORTS.get(transport, DEFAULT_PORT)
