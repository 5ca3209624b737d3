# SPDX-License-Identifier: GPL-3.0-or-later
"""What the core must know of a trunk: a carrier, a gateway or another exchange."""

from __future__ import annotations

from dataclasses import field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from sip.client_auth import Login
from sip.effects import Address
from sip.facts import fact


@fact
class Trunk:
    """One trunk. Whoever configures it has looked its names up.

    domain: host of our request URIs and of To. addresses: where it is reached, tried in order. login: how we answer
    its challenges. register: whether to register with it, for `expires` seconds. sources: networks that its calls come
    from; certificates: names, one of which the certificate that it shows must bear, in place of any source.
    channels: how many calls it carries at once, 0: any number. probe: seconds between OPTIONS, 0: none, it is always
    up. trusted: its P-Asserted-Identity is believed, and it is told ours. refer: it may transfer calls. from_user: what
    we are known as in From, "" for the caller's number.
    """

    name: str
    domain: str
    addresses: tuple[Address, ...]
    login: Login | None = None
    register: bool = False
    expires: int = 3600
    sources: tuple[IPv4Network | IPv6Network, ...] = ()
    certificates: tuple[str, ...] = ()
    channels: int = 0
    probe: float = 0.0
    trusted: bool = False
    refer: bool = False
    from_user: str = ""
    ours: str = field(default="", compare=False)
    """Host of our own addresses of record toward it, "" for its domain where it has us register, else for ours."""

    @property
    def known_as(self) -> str:
        """What it knows us as, "" where it has no name for us."""
        return self.from_user or (self.login.username if self.login else "")

    def knows(self, host: str) -> bool:
        """Whether calls from this IP address are the trunk's."""
        address = ip_address(host)
        return any(address in network for network in self.sources)


def network(text: str) -> IPv4Network | IPv6Network:
    """An address or a network in CIDR notation. Raises ValueError."""
    return ip_network(text, strict=False)
