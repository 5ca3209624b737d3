# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what a leg describes can be relayed: protocols, addresses, and how the kernel would send there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from ctl.network.addresses import Family, family_of, unspecified
from ctl.network.nexthop import Route
from ctl.sessions.plan import DataPlane, check, peer_address
from ctl.sessions.relay_choice import Facing, NoSuchInterface, choose
from ctl.sessions.streams import Stream, StreamRefused


class Routes(Protocol):
    """What is asked of `ctl.network.nexthop.NextHops`."""

    def route(self, target: str, source: str = "") -> Route | None:
        """Return how the kernel routes to `target`, from `source` if given."""


def check_all(streams: Iterable[Stream], plane: DataPlane, routes: Routes) -> None:
    """Raise StreamRefused, with the reason in one line, for the first stream that is none of those we relay."""
    for stream in streams:
        if not stream.inside:
            check(stream, plane)
            _check_route(stream, plane, routes)


def common_family(streams: Iterable[Stream]) -> Family | None:
    """Return the family of a party's addresses, None while it has none. Raises StreamRefused where there are two."""
    named = (stream.address for stream in streams if stream.rtp_port and not unspecified(stream.address))
    families = set(map(family_of, named))
    if len(families) > 1:
        raise StreamRefused("m-lines of IPv4 and of IPv6 in one description; offer all in one family")
    return next(iter(families), None)


def facing(plane: DataPlane, routes: Routes, have: str | None, peer: str, wanted: Facing, family: Family | None) -> str:
    """Return our address toward a party: the one that it has, as long as that fits, or the best there is.

    Raises NoRelayAddress.
    """
    name = next((each.name for each in plane.addresses if each.address == have), None)
    if have and name is not None and family in (None, family_of(have)) and wanted.interface in ("", name):
        return have
    if not plane.addresses:
        raise NoSuchInterface("no relay address is configured; set media.addresses")
    return choose(plane.addresses, plane.interfaces, wanted, family, routes.route(peer), plane.default).address


def _check_route(stream: Stream, plane: DataPlane, routes: Routes) -> None:
    """Refuse addresses that the kernel would not send to a neighbour: this host's own, and broadcast."""
    if not stream.rtp_port or stream.held or stream.ice:
        return
    address = peer_address(stream)
    route = routes.route(address)
    if route is None:
        raise StreamRefused(f"there is no route to {address}")
    if not route.unicast and not plane.allows(address):
        raise StreamRefused(f"{address} is this host's own or a broadcast address; media is not sent there")
