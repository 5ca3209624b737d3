# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of our addresses faces a party: by the name of a media interface, the family of its media, and its route."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from ctl.network.addresses import Family, family_of
from ctl.network.nexthop import Route
from ctl.sessions.codecs import Dtmf
from ctl.sessions.ice import IcePolicy
from ctl.sessions.security import Policy
from sip.facts import fact


@fact
class RelayAddress:
    """One address of ours that media comes to.

    name: of the media interface that it is of, several addresses may share one; empty: none. advertised: what peers
    are told instead, where a router before us translates addresses one to one. signalling: addresses of ours; a party
    that signals to one of them has its media on this interface.
    """

    address: str
    name: str = ""
    advertised: str = ""
    signalling: frozenset[str] = frozenset()

    @property
    def shown(self) -> str:
        """What session descriptions have."""
        return self.advertised or self.address


Moves = Literal["", "handover", "asymmetric"]
"""What a proxy asks of a party's source beyond latching. handover: whoever sends consistent packets from elsewhere
takes its place. asymmetric: it sends from anywhere, but listens where it says.
"""


@fact
class Facing:
    """What is asked of our side toward one party.

    interface: name of a media interface. signalling: address of ours that the party signals to. family: of our
    address. latch: accept media from any source, after some consistent packets. dtmf: how digits reach it. Empty,
    None: not said.
    ice: whether we speak it with the party. follow: only where the other party speaks it too; relayed: our candidate is
    called a relayed one; trickle: the party may send its own one by one. srtp: whether media with the party is
    protected; None: as with all others. web: it is a web page. ptime: milliseconds of sound in each packet that it is
    sent, until another is asked for; 0: as it is.
    """

    interface: str = ""
    signalling: str = ""
    family: Family | None = None
    latch: bool = False
    moves: Moves = ""
    ice: IcePolicy = "remove"
    relayed: bool = False
    follow: bool = False
    trickle: bool = False
    dtmf: Dtmf = "auto"
    srtp: Policy | None = None
    web: bool = False
    ptime: int = 0


ANY = Facing()


class NoRelayAddress(Exception):
    """None of our addresses fits; one line that says which was asked for."""


class NoSuchInterface(NoRelayAddress):
    """A media interface was asked for that this host has not: our own fault, not the party's."""


def choose(
    relays: Sequence[RelayAddress],
    devices: Mapping[str, str],
    wanted: Facing,
    family: Family | None,
    route: Route | None,
    default: str = "",
) -> RelayAddress:
    """Return our address toward a party that `route` leads to.

    devices: the network interface of each address. family: of the party's media; None: whichever there is, though
    rather that of the route. default: name of the media interface where nothing says another. Raises NoRelayAddress.
    """
    named = _by_name(relays, wanted, default)
    fitting = [each for each in named if family is None or family_of(each.address) == family]
    if not fitting:
        where = f"media interface {wanted.interface} has" if wanted.interface else "there is"
        raise NoRelayAddress(f"{where} no relay address of IPv{family}; offer an IPv{10 - (family or 4)} address")
    if route is None:
        return fitting[0]
    same = [each for each in fitting if family_of(each.address) == family_of(route.source_address or route.gateway)]
    near = same or fitting
    exact = [each for each in near if each.address == route.source_address]
    there = [each for each in near if devices.get(each.address) == route.interface]
    return (exact or there or near)[0]


def _by_name(relays: Sequence[RelayAddress], wanted: Facing, default: str) -> Collection[RelayAddress]:
    if wanted.interface:
        found = [each for each in relays if each.name == wanted.interface]
        if not found:
            known = ", ".join(sorted({each.name for each in relays if each.name})) or "none"
            raise NoSuchInterface(f"there is no media interface {wanted.interface}; configured are {known}")
        return found
    here = wanted.signalling
    names = {each.name for each in relays if each.name and here and (here == each.address or here in each.signalling)}
    by_signalling = [each for each in relays if each.name in names]
    return by_signalling or [each for each in relays if default and each.name == default] or relays
