# SPDX-License-Identifier: GPL-3.0-or-later
"""The networks of the lab: which namespaces, links and addresses there are, and how they are made.

two:  a 198.18.1.11 ── r-a 198.18.1.1 [relay] 198.18.2.1 r-b ── 198.18.2.12 b
one:  a 198.18.1.11 ─┐
                     bridge ── r-0 198.18.1.1 [relay]
      b 198.18.1.12 ─┘

Beside 198.18.N.H each has 2001:db8:N::H.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Any, Literal

from pyroute2 import IPRoute

from vm import namespace as namespaces
from vm import xdp_pass
from vm.process import inside, run

Shape = Literal["one", "two"]
PREFIX, PREFIX6 = 24, 64
IFA_F_NODAD = 0x02


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A phone's place: its namespace, its one interface and address, and the relay's address it talks to."""

    namespace: str
    interface: str
    address: str
    relay: str

    @property
    def address6(self) -> str:
        """Its address of IPv6."""
        return ipv6(self.address)

    @property
    def relay6(self) -> str:
        """The relay's."""
        return ipv6(self.relay)


def ipv6(address: str) -> str:
    """The address of IPv6 that stands beside one of the lab's of IPv4."""
    *_, network, host = address.split(".")
    return f"2001:db8:{network}::{host}"


@dataclass(frozen=True, slots=True)
class Topology:
    """Two endpoints and the relay between them; `bridge` is the switch of the shape "one"."""

    a: Endpoint
    b: Endpoint
    relay: str
    relay_interfaces: tuple[str, ...]
    relay_addresses: tuple[str, ...]
    bridge: str | None

    @property
    def namespaces(self) -> tuple[str, ...]:
        """All of them, in the order in which they are made."""
        return tuple(name for name in (self.relay, self.bridge, self.a.namespace, self.b.namespace) if name)


def plan(shape: Shape, name: str) -> Topology:
    """The topology of a shape; `name` begins every namespace's name."""
    if shape == "two":
        return Topology(
            a=Endpoint(f"{name}-a", "a0", "198.18.1.11", "198.18.1.1"),
            b=Endpoint(f"{name}-b", "b0", "198.18.2.12", "198.18.2.1"),
            relay=f"{name}-r",
            relay_interfaces=("r-a", "r-b"),
            relay_addresses=("198.18.1.1", "198.18.2.1"),
            bridge=None,
        )
    return Topology(
        a=Endpoint(f"{name}-a", "a0", "198.18.1.11", "198.18.1.1"),
        b=Endpoint(f"{name}-b", "b0", "198.18.1.12", "198.18.1.1"),
        relay=f"{name}-r",
        relay_interfaces=("r-0",),
        relay_addresses=("198.18.1.1",),
        bridge=f"{name}-s",
    )


def build(topology: Topology) -> None:
    """Make links, addresses and routes in namespaces that exist already."""
    run(*inside(topology.relay, ["sysctl", "-qw", "net.ipv4.ip_forward=0"]))
    if topology.bridge is None:
        for endpoint, interface in zip((topology.a, topology.b), topology.relay_interfaces, strict=True):
            cable(topology.relay, interface, endpoint.namespace, endpoint.interface)
    else:
        _build_bridge(topology, topology.bridge)
    for interface, address in zip(topology.relay_interfaces, topology.relay_addresses, strict=True):
        configure(topology.relay, interface, address)
    for endpoint in (topology.a, topology.b):
        configure(endpoint.namespace, endpoint.interface, endpoint.address, endpoint.relay)
        _pass_xdp(endpoint.namespace, endpoint.interface)
        # As behind a card: with the checksums left undone the relay completes each, and none goes the express way.
        run(*inside(endpoint.namespace, ["ethtool", "-K", endpoint.interface, "tx", "off"]))


def add_address(endpoint: Endpoint, address: str) -> None:
    """Give the endpoint's interface one more address, as a stranger in its network would have."""
    with namespaces.entered(endpoint.namespace), IPRoute() as netlink:
        netlink.addr("add", index=_index(netlink, endpoint.interface), address=address, prefixlen=PREFIX)


def packets_received(endpoint: Endpoint) -> int:
    """Packets that have arrived at the endpoint's interface since it was made."""
    with namespaces.entered(endpoint.namespace), IPRoute() as netlink:
        return int(netlink.link("get", ifname=endpoint.interface)[0].get_nested("IFLA_STATS64")["rx_packets"])


def _build_bridge(topology: Topology, bridge: str) -> None:
    relay_side = topology.relay_interfaces[0]
    cable(topology.relay, relay_side, bridge, "s-r")
    cable(bridge, "s-a", topology.a.namespace, topology.a.interface)
    cable(bridge, "s-b", topology.b.namespace, topology.b.interface)
    with namespaces.entered(bridge), IPRoute() as netlink:
        netlink.link("add", ifname="switch", kind="bridge", br_stp_state=0)
        switch = _index(netlink, "switch")
        netlink.link("set", index=switch, state="up")
        for port in ("s-r", "s-a", "s-b"):
            netlink.link("set", index=_index(netlink, port), master=switch, state="up")
    _pass_xdp(bridge, "s-r")


def cable(near: str, near_interface: str, far: str, far_interface: str) -> None:
    """Join two namespaces by a pair of interfaces."""
    with namespaces.entered(near), IPRoute() as netlink:
        netlink.link("add", ifname=near_interface, kind="veth", peer={"ifname": far_interface, "net_ns_fd": far})


def configure(namespace: str, interface: str, address: str, gateway: str | None = None) -> None:
    """Give an interface its addresses of both families and set it up; gateway: where all else is."""
    with namespaces.entered(namespace), IPRoute() as netlink:
        netlink.link("set", index=_index(netlink, "lo"), state="up")
        index = _index(netlink, interface)
        netlink.addr("add", index=index, address=address, prefixlen=PREFIX)
        netlink.addr("add", index=index, address=ipv6(address), prefixlen=PREFIX6, flags=IFA_F_NODAD)
        netlink.link("set", index=index, state="up")
        if gateway is not None:
            netlink.route("add", dst="default", gateway=gateway)
            netlink.route("add", family=socket.AF_INET6, dst="default", gateway=ipv6(gateway))


def _pass_xdp(namespace: str, interface: str) -> None:
    program = xdp_pass.load()
    try:
        with namespaces.entered(namespace), IPRoute() as netlink:
            netlink.link("set", index=_index(netlink, interface), xdp_fd=program)
    finally:
        os.close(program)


def _index(netlink: Any, interface: str) -> int:
    return int(netlink.link_lookup(ifname=interface)[0])
