# SPDX-License-Identifier: GPL-3.0-or-later
"""A home behind a router that translates addresses and ports, as the kernel's connection tracking does it."""

from __future__ import annotations

from vm import topology
from vm.lab import Lab
from vm.process import inside, run
from vm.topology import Endpoint

ROUTER, PHONE = "192.168.7.1", "192.168.7.10"
FIRST_PORT, LAST_PORT = 40000, 49999


def home(lab: Lab, memory: int) -> Endpoint:
    """A network of its own behind the endpoint `a`, whose address is all that others see of it.

    No port stays what it was. memory: seconds of silence after which the router forgets a TCP connection.
    """
    router, inner = lab.a.namespace, lab.add_namespace("home")
    topology.cable(router, "home", inner, "h0")
    topology.configure(router, "home", ROUTER)
    topology.configure(inner, "h0", PHONE, ROUTER)
    settings = ("ipv4.ip_forward=1", f"netfilter.nf_conntrack_tcp_timeout_established={memory}")
    run(*inside(router, ["sysctl", "-qw", *(f"net.{each}" for each in settings)]))
    for protocol in ("tcp", "udp"):
        rule = ["-o", lab.a.interface, "-p", protocol, "-j", "MASQUERADE", "--to-ports", f"{FIRST_PORT}-{LAST_PORT}"]
        run(*inside(router, ["iptables", "-w", "-t", "nat", "-A", "POSTROUTING", "-s", PHONE, *rule]))
    return Endpoint(inner, "h0", PHONE, lab.a.relay)


def connections(lab: Lab) -> list[str]:
    """Where the relay has TCP connections with the router, by the router's ports."""
    lines = run(*inside(lab.relay, ["ss", "-Htn", "state", "established"])).splitlines()
    return sorted(peer for *_, peer in map(str.split, lines) if peer.startswith(f"{lab.a.address}:"))
