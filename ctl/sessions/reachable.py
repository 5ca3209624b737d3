# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what a leg describes can be relayed: protocols, addresses, and how the kernel would send there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from ctl.network.addresses import Family, behind_nat, family_of, refusal, unspecified
from ctl.network.nexthop import Route
from ctl.sessions.dataplane import DataPlane
from ctl.sessions.relay_choice import Facing, NoSuchInterface, choose
from ctl.sessions.streams import PROFILES, Stream, StreamRefused


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


def check(stream: Stream, data_plane: DataPlane) -> None:
    """Raise StreamRefused, with the reason in one line, if the stream is not one we relay. Ended ones pass."""
    if not stream.rtp_port:
        return
    if stream.protocol not in PROFILES and not (stream.raw and stream.media == "image"):
        raise StreamRefused(f"{stream.kind} is not relayed; offer {' or '.join(PROFILES)}")
    if stream.held or stream.ice:
        return
    asked = (stream.address, stream.signalling) if is_behind_nat(stream) else (stream.address,)
    for address in asked:
        reason = refusal(address, data_plane.own, data_plane.allowed)
        if reason:
            raise StreamRefused(reason)


def peer_address(stream: Stream) -> str:
    """Return the address that media of this leg comes from and goes to; while held, that of its signalling."""
    nowhere = stream.held or unspecified(stream.address)
    return stream.signalling if nowhere or is_behind_nat(stream) else stream.address


def is_behind_nat(stream: Stream) -> bool:
    """Whether media of this leg comes from where its signalling does, for the address that it names is private."""
    return not stream.held and behind_nat(stream.address, stream.signalling)


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
