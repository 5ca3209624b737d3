# SPDX-License-Identifier: GPL-3.0-or-later
"""The Ethernet addresses of the hosts that media leaves to, and the kernel's care for them."""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from typing import Any

from ctl.network.links import mac_of
from ctl.network.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, Netlink, family_of
from ctl.network.rtnetlink import rtnl

_NUD_VALID = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80  # reachable, stale, delay, probe, noarp, permanent
_NUD_FIXED = 0x40 | 0x80  # noarp, permanent: set by an administrator
_NTF_USE = 1
_NTF_EXT_MANAGED = 1
_DISCARD_PORT = 9
_HOPS = ((socket.AF_INET, socket.IPPROTO_IP, socket.IP_TTL),
         (socket.AF_INET6, socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS))  # fmt: skip

Neighbour = tuple[int, str]
"""Interface index and IPv4 or IPv6 address of a host on that interface's link."""


class Neighbours:
    """Those in use. With CAP_NET_ADMIN the kernel keeps them alive by itself, else `refresh` has it done."""

    def __init__(self, netlink: Netlink, manage: bool = True) -> None:
        self._netlink = netlink
        self._macs: dict[Neighbour, bytes] = {}
        self._managed: set[Neighbour] = set()  # by us
        self._kept: set[Neighbour] = set()  # by us or an administrator: need no refresh
        self._may_manage = manage
        self._probes = _probes()

    def mac(self, neighbour: Neighbour) -> bytes | None:
        """Return the last Ethernet address that was heard of; None if there was none."""
        return self._macs.get(neighbour)

    def take(self, message: Any, used: set[Neighbour]) -> None:
        """Note an event: a new address replaces the old one, that of a silent neighbour holds until then."""
        mac = mac_of(message.get_attr("NDA_LLADDR"))
        neighbour = (message["ifindex"], message.get_attr("NDA_DST"))
        if mac and message["state"] & _NUD_VALID and neighbour in used:
            self._macs[neighbour] = mac

    def look_for(self, neighbour: Neighbour) -> None:
        """Learn the address from the kernel's table, or have the kernel ask for it on the link."""
        ifindex, address = neighbour
        fields = {"family": family_of(address), "ifindex": ifindex}
        for answer in self._netlink.ask(rtnl.RTM_GETNEIGH, fields, {"NDA_DST": address}):
            self.take(answer, {neighbour})
            if answer["state"] & _NUD_FIXED:
                self._kept.add(neighbour)
        if neighbour not in self._kept and not self._manage(neighbour):
            self._stir(neighbour)

    def refresh(self, used: set[Neighbour]) -> None:
        """Make the kernel confirm every one that it does not look after by itself."""
        for neighbour in used - self._kept:
            self._stir(neighbour)

    def keep(self, used: set[Neighbour]) -> None:
        """Drop what is known of any others, and give them back."""
        for neighbour in self._managed - used:
            with suppress(OSError):  # the interface may be gone, and the neighbour with it
                self._set_managed(neighbour, False)
        self._managed &= used
        self._kept &= used
        self._macs = {each: mac for each, mac in self._macs.items() if each in used}

    def forget(self) -> None:
        """Ask anew for each: events were lost."""
        self._macs.clear()
        self._kept.clear()

    def close(self) -> None:
        """Give all back and close the sockets."""
        self.keep(set())
        for probe in self._probes.values():
            probe.close()

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

    def _set_managed(self, neighbour: Neighbour, managed: bool) -> None:
        """Begin or end the kernel's care; NTF_USE, like NTF_EXT_MANAGED, leaves what is known as it is."""
        ifindex, address = neighbour
        flags = 0 if managed else _NTF_USE
        fields = {"family": family_of(address), "ifindex": ifindex, "state": 0, "flags": flags}
        attributes = {"NDA_DST": address, "NDA_FLAGS_EXT": _NTF_EXT_MANAGED if managed else 0}
        self._netlink.ask(rtnl.RTM_NEWNEIGH, fields, attributes, NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK)

    def _stir(self, neighbour: Neighbour) -> None:
        """Send a datagram that the neighbour discards: to send it, the kernel must know the neighbour."""
        ifindex, address = neighbour
        family = family_of(address)
        where = (address, _DISCARD_PORT, 0, ifindex) if family == socket.AF_INET6 else (address, _DISCARD_PORT)
        with suppress(OSError, KeyError):  # no route for now, or its queue is full: the next refresh tries again
            self._probes[family].sendto(b"", where)


def _probes() -> dict[socket.AddressFamily, socket.socket]:
    """Return a socket of each family that the host has; what they send goes no further than one hop."""
    probes = {}
    for family, level, hops in _HOPS:
        with suppress(OSError):
            probes[family] = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            probes[family].setsockopt(level, hops, 1)
    return probes
