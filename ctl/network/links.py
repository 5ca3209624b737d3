# SPDX-License-Identifier: GPL-3.0-or-later
"""Network interfaces as the kernel tells of them, and how a frame that leaves by one is tagged."""

from __future__ import annotations

from typing import Any

from ctl.network.netlink import Netlink
from ctl.network.rtnetlink import rtnl
from sip.facts import fact

_ARPHRD_ETHER = 1
_IFF_UP = 1
_TAGS = 2  # an outer and an inner one, as many as a flow can hold


@fact
class Link:
    """A network interface. mac is empty where there are no Ethernet addresses, as on loopback and tunnels.

    A VLAN device has the index of the interface below it as `parent`, and the tag's id as `vlan`; others have 0.
    """

    name: str
    mac: bytes
    up: bool
    parent: int = 0
    vlan: int = 0


@fact
class Egress:
    """Where a frame really leaves: the interface below all VLAN devices, and the tags that they add, outer first."""

    ifindex: int
    name: str
    vlans: tuple[int, ...] = ()


NOWHERE = Link("", b"", False)


class Links:
    """The interfaces by index, asked for once and then kept right by events."""

    def __init__(self, netlink: Netlink) -> None:
        self._netlink = netlink
        self._links: dict[int, Link] = {}

    def get(self, index: int) -> Link:
        """Return the interface; one without name and addresses if there is none of that index."""
        if index not in self._links:
            for answer in self._netlink.ask(rtnl.RTM_GETLINK, {"index": index}, {}):
                self._links[index] = _link(answer)
        return self._links.get(index, NOWHERE)

    def egress(self, index: int) -> Egress | None:
        """Return where frames of this interface leave; None if they have more tags than a flow can."""
        vlans: tuple[int, ...] = ()
        while (link := self.get(index)).parent:
            vlans = (link.vlan, *vlans)
            if len(vlans) > _TAGS:
                return None
            index = link.parent
        return Egress(index, link.name, vlans)

    def take(self, message: Any, gone: bool) -> bool:
        """Note an event; return whether it changed an interface that somebody had asked for."""
        index = message["index"]
        before = self._links.pop(index, None)
        if not gone:
            self._links[index] = _link(message)
        return before is not None and (gone or before != self._links[index])

    def forget(self) -> None:
        """Ask anew for each: events were lost."""
        self._links.clear()


def mac_of(text: str | None) -> bytes:
    """Return an Ethernet address as 6 bytes; none of an empty one."""
    return bytes.fromhex(text.replace(":", "")) if text else b""


def _link(message: Any) -> Link:
    mac = message.get_attr("IFLA_ADDRESS") if message["ifi_type"] == _ARPHRD_ETHER else None
    parent, vlan = _vlan(message)
    return Link(message.get_attr("IFLA_IFNAME"), mac_of(mac), bool(message["flags"] & _IFF_UP), parent, vlan)


def _vlan(message: Any) -> tuple[int, int]:
    """Return parent and id of a VLAN device. Other kinds name something else as their link: a veth its peer."""
    kind = message.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND")
    if kind != "vlan":
        return 0, 0
    return message.get_attr("IFLA_LINK"), message.get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA", "IFLA_VLAN_ID")
