# SPDX-License-Identifier: GPL-3.0-or-later
"""What can carry packets on this host, as plans are made by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from ipaddress import ip_address

from ctl.network.addresses import Network
from ctl.sessions.relay_choice import RelayAddress
from ctl.sessions.security import Policy
from sip.effects import Leg
from sip.facts import fact


@fact
class DataPlane:
    """What can carry packets here. interfaces: the interface of each relay address; attached: those with XDP."""

    interfaces: Mapping[str, str]
    attached: frozenset[str]
    engine: bool = True
    allowed: tuple[Network, ...] = ()
    """Networks that media may go to though they are loopback, link-local or reserved: for laboratories."""
    transcode: tuple[str, ...] = ()
    """Codecs that are offered beside the caller's, for the engine to transcode; none: nothing is transcoded."""
    refusal: str = ""
    """Why no new call can be carried at all, in one line with the remedy; empty if calls can."""
    relays: tuple[RelayAddress, ...] = ()
    """What is known of the relay addresses beyond their interface; none: they have no names."""
    default: str = ""
    """Name of the media interface where nothing says another; empty: routes decide."""
    police: float = 0.0
    """How many times its codec's packets a flow may carry; 0: any number."""
    srtp: Policy = "preferred"
    fingerprint: str = ""
    """Of the engine's certificate, as in a=fingerprint."""
    addresses: tuple[RelayAddress, ...] = field(init=False, compare=False)
    """All relay addresses."""
    own: frozenset[str] = field(init=False, compare=False)
    """All that peers may know us by: media sent there would loop."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "addresses", self.relays or tuple(map(RelayAddress, self.interfaces)))
        object.__setattr__(self, "own", frozenset(self.interfaces) | {each.shown for each in self.relays})

    def shown(self, relays: Mapping[Leg, str]) -> dict[Leg, str]:
        """Return what legs are told of the addresses that face them, where that is another."""
        advertised = {each.address: each.advertised for each in self.relays if each.advertised}
        return {leg: advertised[relay] for leg, relay in relays.items() if relay in advertised}

    def allows(self, address: str) -> bool:
        """Whether `address` is in one of the allowed networks."""
        return any(ip_address(address) in network for network in self.allowed)
