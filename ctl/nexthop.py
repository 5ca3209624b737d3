# SPDX-License-Identifier: GPL-3.0-or-later
"""By which interface and through which neighbour each peer is reached, always as the kernel sees it now.

The kernel is asked (so policy routing counts), the answers are kept, and its events say which of them no longer
hold. Nothing here needs a privilege; with CAP_NET_ADMIN the kernel itself keeps the neighbours alive.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pyroute2.netlink import rtnl

from ctl.netlink import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_REPLACE,
    Message,
    Netlink,
    NetlinkEvents,
)

_RTN_UNICAST = 1
_ARPHRD_ETHER = 1
_IFF_UP = 1
_NUD_VALID = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80  # reachable, stale, delay, probe, noarp, permanent
_NUD_FIXED = 0x40 | 0x80  # noarp, permanent: set by an administrator
_NTF_USE = 1
_NTF_EXT_MANAGED = 1
_DISCARD_PORT = 9
_ASKED_LIMIT = 4096
_NEIGHBOUR_EVENTS = (rtnl.RTM_NEWNEIGH, rtnl.RTM_DELNEIGH)
_LINK_EVENTS = (rtnl.RTM_NEWLINK, rtnl.RTM_DELLINK)

Peer = tuple[str, str]
"""Address of a peer, and the relay address that we send to it from ("": any)."""
Neighbour = tuple[int, str]
"""Interface index and address of a host on that interface's link."""


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface. mac is empty where there are no Ethernet addresses, as on loopback and tunnels."""

    name: str
    mac: bytes
    up: bool


@dataclass(frozen=True, slots=True)
class Route:
    """How the kernel sends to a peer. unicast is False for this host's own and for broadcast addresses."""

    ifindex: int
    interface: str
    gateway: str
    source_address: str
    unicast: bool


@dataclass(frozen=True, slots=True)
class NextHop:
    """What a frame to the peer needs: interface, and both Ethernet addresses as 6 bytes each."""

    ifindex: int
    interface: str
    target_mac: bytes
    egress_mac: bytes
    source_address: str


class NextHops:
    """The next hop of every peer in use.

    `on_change` is called by `drain` with the addresses of peers whose next hop became another one. The owner calls
    `drain` when `fileno` is readable and `refresh` every few seconds.
    """

    def __init__(self, on_change: Callable[[frozenset[str]], None] | None = None) -> None:
        self.on_change = on_change or (lambda addresses: None)
        self._events = NetlinkEvents()
        self._netlink = Netlink()
        self._probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._probe.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
        self._links: dict[int, Link] = {}
        self._routes: dict[Peer, Route | None] = {}  # of the peers in use
        self._given: dict[Peer, NextHop | None] = {}  # the oldest answer that somebody may still go by
        self._asked: dict[Peer, Route | None] = {}  # of others, until a route changes
        self._neighbours: dict[Neighbour, bytes] = {}
        self._managed: set[Neighbour] = set()  # by us
        self._kept: set[Neighbour] = set()  # by us or an administrator: need no refresh
        self._may_manage = True

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

        Also None where no frame can be made: no route, no Ethernet, an address of this host.
        """
        route = self._routes[target, source] = self.route(target, source)
        hop = self._hop(route)
        if hop is None:
            self._look_for(route)
            hop = self._hop(route)
        self._given.setdefault((target, source), hop)
        return hop

    def forget(self, target: str, source: str = "") -> None:
        """Watch this peer no longer."""
        self._given.pop((target, source), None)
        if self._routes.pop((target, source), None):
            self._tidy()

    def interface_of(self, address: str) -> str | None:
        """Return the name of the interface that has this address; None if this host does not have it."""
        for answer in self._netlink.ask(rtnl.RTM_GETADDR, {"family": socket.AF_INET}, {}, NLM_F_DUMP):
            if answer.get_attr("IFA_LOCAL") == address:
                return self._link(answer["index"]).name
        return None

    def drain(self) -> None:
        """Take in what the kernel has reported, then tell `on_change` what that means for the peers in use."""
        events, lost = self._events.read()
        if lost:
            self._neighbours.clear()
        if lost | self._take(events):
            self._asked.clear()
            self._routes = {peer: self._ask_route(peer) for peer in self._routes}
            self._tidy()
        for route in self._routes.values():
            if self._hop(route) is None:
                self._look_for(route)
        self._tell()

    def refresh(self) -> None:
        """Make the kernel confirm every neighbour in use that it does not look after by itself."""
        for neighbour in self._gateways() - self._kept:
            self._stir(neighbour)

    def close(self) -> None:
        """Give the neighbours back and close the sockets."""
        self._routes.clear()
        self._tidy()
        self._events.close()
        self._netlink.close()
        self._probe.close()

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
                self._take_neighbour(message, used)
            elif kind in _LINK_EVENTS:
                routes |= self._take_link(message, gone=kind == rtnl.RTM_DELLINK)
            else:
                routes = True
        return routes

    def _take_neighbour(self, message: Any, used: set[Neighbour]) -> None:
        """A new Ethernet address replaces the old one; that of a silent neighbour holds until there is another."""
        known = _neighbour(message)
        if known and known[0] in used:
            self._neighbours[known[0]] = known[1]

    def _take_link(self, message: Any, gone: bool) -> bool:
        index, link = _link(message)
        before = self._links.pop(index, None)
        if not gone:
            self._links[index] = link
        return before is not None and (gone or before != link)

    def _hop(self, route: Route | None) -> NextHop | None:
        if route is None or not route.unicast:
            return None
        mac = self._neighbours.get((route.ifindex, route.gateway))
        link = self._link(route.ifindex)
        if mac is None or not link.mac:
            return None
        return NextHop(route.ifindex, link.name, mac, link.mac, route.source_address)

    def _look_for(self, route: Route | None) -> None:
        """Learn the neighbour from the kernel's table, or have the kernel ask for it on the link."""
        if route is None or not route.unicast or not self._link(route.ifindex).mac:
            return
        neighbour = (route.ifindex, route.gateway)
        fields = {"family": socket.AF_INET, "ifindex": route.ifindex}
        for answer in self._netlink.ask(rtnl.RTM_GETNEIGH, fields, {"NDA_DST": route.gateway}):
            self._take_neighbour(answer, {neighbour})
            if answer["state"] & _NUD_FIXED:
                self._kept.add(neighbour)
        if neighbour not in self._kept and not self._manage(neighbour):
            self._stir(neighbour)

    def _manage(self, neighbour: Neighbour) -> bool:
        """Have the kernel resolve the neighbour and keep it fresh; False if we may not."""
        if not self._may_manage:
            return False
        try:
            self._set_managed(neighbour, True)
        except PermissionError:
            self._may_manage = False
            return False
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            return False
        self._managed.add(neighbour)
        self._kept.add(neighbour)
        return True

    def _tidy(self) -> None:
        """Drop what is known of neighbours that no peer in use is reached through."""
        used = self._gateways()
        for neighbour in self._managed - used:
            with suppress(OSError):  # the interface may be gone, and the neighbour with it
                self._set_managed(neighbour, False)
        self._managed &= used
        self._kept &= used
        self._neighbours = {each: mac for each, mac in self._neighbours.items() if each in used}

    def _set_managed(self, neighbour: Neighbour, managed: bool) -> None:
        """Begin or end the kernel's care; NTF_USE, like NTF_EXT_MANAGED, leaves what is known as it is."""
        ifindex, address = neighbour
        fields = {"family": socket.AF_INET, "ifindex": ifindex, "state": 0, "flags": 0 if managed else _NTF_USE}
        attributes = {"NDA_DST": address, "NDA_FLAGS_EXT": _NTF_EXT_MANAGED if managed else 0}
        flags = NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK
        self._netlink.ask(rtnl.RTM_NEWNEIGH, fields, attributes, flags)

    def _stir(self, neighbour: Neighbour) -> None:
        """Send a datagram that the neighbour discards: to send it, the kernel must know the neighbour."""
        with suppress(OSError):  # no route for now, or its queue is full: the next refresh tries again
            self._probe.sendto(b"", (neighbour[1], _DISCARD_PORT))

    def _gateways(self) -> set[Neighbour]:
        return {
            (route.ifindex, route.gateway) for route in self._routes.values() if route is not None and route.unicast
        }

    def _ask_route(self, peer: Peer) -> Route | None:
        target, source = peer
        fields = {"family": socket.AF_INET, "dst_len": 32, "src_len": 32 if source else 0}
        attributes = {"RTA_DST": target} | ({"RTA_SRC": source} if source else {})
        try:
            answers = self._netlink.ask(rtnl.RTM_GETROUTE, fields, attributes)
        except OSError:  # prohibited by a rule, or a source that is no address of ours (any more)
            return None
        for answer in answers:
            ifindex = answer.get_attr("RTA_OIF")
            return Route(
                ifindex=ifindex,
                interface=self._link(ifindex).name,
                gateway=answer.get_attr("RTA_GATEWAY") or target,
                source_address=answer.get_attr("RTA_PREFSRC") or source,
                unicast=answer["type"] == _RTN_UNICAST,
            )
        return None

    def _link(self, index: int) -> Link:
        if index not in self._links:
            for answer in self._netlink.ask(rtnl.RTM_GETLINK, {"index": index}, {}):
                self._links[index] = _link(answer)[1]
        return self._links.get(index, Link("", b"", False))


def _link(message: Any) -> tuple[int, Link]:
    mac = message.get_attr("IFLA_ADDRESS") if message["ifi_type"] == _ARPHRD_ETHER else None
    return message["index"], Link(message.get_attr("IFLA_IFNAME"), _mac(mac), bool(message["flags"] & _IFF_UP))


def _neighbour(message: Any) -> tuple[Neighbour, bytes] | None:
    """Return what the message says of an IPv4 neighbour whose Ethernet address is valid."""
    mac = _mac(message.get_attr("NDA_LLADDR"))
    if message["family"] != socket.AF_INET or not message["state"] & _NUD_VALID or not mac:
        return None
    return (message["ifindex"], message.get_attr("NDA_DST")), mac


def _mac(text: str | None) -> bytes:
    return bytes.fromhex(text.replace(":", "")) if text else b""
