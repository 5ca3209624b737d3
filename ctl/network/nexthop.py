# SPDX-License-Identifier: GPL-3.0-or-later
"""By which interface and through which neighbour each peer is reached, always as the kernel sees it now.

The kernel is asked (so policy routing counts), the answers are kept, and its events say which of them no longer
hold. Nothing here needs a privilege; with CAP_NET_ADMIN the kernel itself keeps the neighbours alive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ctl.network.links import Links
from ctl.network.neighbours import Neighbour, Neighbours
from ctl.network.netlink import NLM_F_DUMP, Message, Netlink, NetlinkEvents, family_of
from ctl.network.rtnetlink import rtnl
from sip.facts import fact

_RTN_UNICAST = 1
_ASKED_LIMIT = 4096
_NEIGHBOUR_EVENTS = (rtnl.RTM_NEWNEIGH, rtnl.RTM_DELNEIGH)
_LINK_EVENTS = (rtnl.RTM_NEWLINK, rtnl.RTM_DELLINK)

Peer = tuple[str, str]
"""Address of a peer, and the relay address that we send to it from ("": any)."""


@fact
class Route:
    """How the kernel sends to a peer. unicast is False for this host's own and for broadcast addresses.

    ifindex: of the device that the route names; interface: the one that frames leave by, below any VLAN device.
    """

    ifindex: int
    interface: str
    gateway: str
    source_address: str
    unicast: bool


@fact
class NextHop:
    """What a frame to the peer needs: interface, both Ethernet addresses as 6 bytes each, VLAN ids from the outer."""

    ifindex: int
    interface: str
    target_mac: bytes
    egress_mac: bytes
    source_address: str
    vlans: tuple[int, ...] = ()


class NextHops:
    """The next hop of every peer in use.

    `on_change` is called by `drain` with the addresses of peers whose next hop became another one. The owner calls
    `drain` when `fileno` is readable and `refresh` every few seconds. manage: have the kernel keep neighbours alive
    if we may.
    """

    def __init__(self, on_change: Callable[[frozenset[str]], None] | None = None, manage: bool = True) -> None:
        self.on_change = on_change or (lambda addresses: None)
        self._events = NetlinkEvents()
        self._netlink = Netlink()
        self._links = Links(self._netlink)
        self._neighbours = Neighbours(self._netlink, manage)
        self._routes: dict[Peer, Route | None] = {}  # of the peers in use
        self._given: dict[Peer, NextHop | None] = {}  # the oldest answer that somebody may still go by
        self._asked: dict[Peer, Route | None] = {}  # of others, until a route changes
        self._idle: set[Peer] = set()  # in use until lately

    def fileno(self) -> int:
        """Return the descriptor of the kernel's events, for an event loop."""
        return self._events.fileno()

    def route(self, target: str, source: str = "") -> Route | None:
        """Return how the kernel routes to `target`, from `source` if given; None: not at all."""
        peer = (target, source)
        if peer in self._routes:
            return self._routes[peer]
        if peer not in self._asked:
            if len(self._asked) >= _ASKED_LIMIT:
                self._asked.clear()
            self._asked[peer] = self._ask_route(peer)
        return self._asked[peer]

    def resolve(self, target: str, source: str = "") -> NextHop | None:
        """Return the next hop to `target`, or None and set its resolution going; `on_change` tells when it is known.

        Also None where no frame can be made: no route, no Ethernet, an address of this host, more than two VLAN tags.
        """
        route = self._routes[target, source] = self.route(target, source)
        self._idle.discard((target, source))
        hop = self._hop(route)
        if hop is None:
            self._look_for(route)
            hop = self._hop(route)
        self._given.setdefault((target, source), hop)
        return hop

    def forget(self, target: str, source: str = "") -> None:
        """Watch this peer no longer, from the next `refresh` on: one call ends, the next one to it begins."""
        self._idle.add((target, source))

    def interface_of(self, address: str) -> str | None:
        """Return the interface that frames to this address of ours come in by; None if this host does not have it.

        That of a VLAN device is the one below it, which is where XDP sees the frames.
        """
        for answer in self._netlink.ask(rtnl.RTM_GETADDR, {"family": family_of(address)}, {}, NLM_F_DUMP):
            if address in (answer.get_attr("IFA_LOCAL"), answer.get_attr("IFA_ADDRESS")):
                egress = self._links.egress(answer["index"])
                return egress.name if egress else None
        return None

    def drain(self) -> None:
        """Take in what the kernel has reported, then tell `on_change` what that means for the peers in use."""
        events, lost = self._events.read()
        if lost:
            self._links.forget()
            self._neighbours.forget()
        if lost | self._take(events):
            self._asked.clear()
            self._routes = {peer: self._ask_route(peer) for peer in self._routes}
            self._neighbours.keep(self._gateways())
        for route in self._routes.values():
            if self._hop(route) is None:
                self._look_for(route)
        self._tell()

    def refresh(self) -> None:
        """Make the kernel confirm every neighbour in use that it does not look after by itself; drop the others."""
        if self._idle:
            for peer in self._idle:
                self._given.pop(peer, None)
                self._routes.pop(peer, None)
            self._idle.clear()
            self._neighbours.keep(self._gateways())
        self._neighbours.refresh(self._gateways())

    def close(self) -> None:
        """Give the neighbours back and close the sockets."""
        self._routes.clear()
        self._neighbours.close()
        self._events.close()
        self._netlink.close()

    def _tell(self) -> None:
        """Two answers may have gone out for a peer since the last time, so the oldest is what counts."""
        now = {peer: self._hop(route) for peer, route in self._routes.items()}
        changed = {peer[0] for peer, hop in now.items() if self._given[peer] != hop}
        self._given = now
        if changed:
            self.on_change(frozenset(changed))

    def _take(self, events: Iterable[Message]) -> bool:
        """Note neighbours and links; return whether routes may have changed."""
        routes, used = False, self._gateways()
        for kind, message in events:
            if kind in _NEIGHBOUR_EVENTS:
                self._neighbours.take(message, used)
            elif kind in _LINK_EVENTS:
                routes |= self._links.take(message, gone=kind == rtnl.RTM_DELLINK)
            else:
                routes = True
        return routes

    def _hop(self, route: Route | None) -> NextHop | None:
        if route is None or not route.unicast:
            return None
        target, egress_mac = self._neighbours.mac((route.ifindex, route.gateway)), self._links.get(route.ifindex).mac
        egress = self._links.egress(route.ifindex)
        if target is None or not egress_mac or egress is None:
            return None
        return NextHop(egress.ifindex, egress.name, target, egress_mac, route.source_address, egress.vlans)

    def _look_for(self, route: Route | None) -> None:
        if route is not None and route.unicast and self._links.get(route.ifindex).mac:
            self._neighbours.look_for((route.ifindex, route.gateway))

    def _gateways(self) -> set[Neighbour]:
        return {
            (route.ifindex, route.gateway) for route in self._routes.values() if route is not None and route.unicast
        }

    def _ask_route(self, peer: Peer) -> Route | None:
        target, source = peer
        bits = 128 if ":" in target else 32
        fields = {"family": family_of(target), "dst_len": bits, "src_len": bits if source else 0}
        attributes = {"RTA_DST": target} | ({"RTA_SRC": source} if source else {})
        try:
            answers = self._netlink.ask(rtnl.RTM_GETROUTE, fields, attributes)
        except OSError:  # prohibited by a rule, or a source that is no address of ours (any more)
            return None
        for answer in answers:
            ifindex = answer.get_attr("RTA_OIF")
            egress = self._links.egress(ifindex)
            return Route(
                ifindex=ifindex,
                interface=egress.name if egress else self._links.get(ifindex).name,
                gateway=_gateway(answer) or target,
                source_address=answer.get_attr("RTA_PREFSRC") or source,
                unicast=answer["type"] == _RTN_UNICAST,
            )
        return None


def _gateway(answer: Any) -> str | None:
    """Return the router's address, which may be of the other family (RFC 8950)."""
    via = answer.get_attr("RTA_VIA")
    gateway: str | None = via["addr"] if via else answer.get_attr("RTA_GATEWAY")
    return gateway
