# SPDX-License-Identifier: GPL-3.0-or-later
"""A relay's namespace with two links, a host and a router on the first, a router on the second, in both families."""

import ctypes
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ctl.network.nexthop import NextHop, NextHops
from tests.patience import PATIENCE, unhindered

RELAY, HOST, ROUTER, OTHER_ROUTER = "10.77.1.1", "10.77.1.2", "10.77.1.3", "10.77.2.3"
FAR = "203.0.113.9"
RELAY6, HOST6, ROUTER6, OTHER_ROUTER6 = "2001:db8:1::1", "2001:db8:1::2", "fe80::77:3", "2001:db8:2::3"
FAR6 = "2001:db8:ff::9"
EAST, WEST, MOVED = "02:00:00:00:01:02", "02:00:00:00:02:03", "02:00:00:00:01:99"
CLONE_NEWNET = 0x40000000
LIMIT = 0.2
ROOT = Path(__file__).parents[2]


class Network:
    """Two namespaces joined by two links; every word goes to `ip` inside one of them."""

    def __init__(self) -> None:
        self.relay_name, self._peers = f"vxhop-r{os.getpid()}", f"vxhop-p{os.getpid()}"

    def build(self) -> None:
        for name in (self.relay_name, self._peers):
            ip("netns", "add", name)
            run("nsenter", f"--net=/run/netns/{name}", "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        for link, mac in (("east", EAST), ("west", WEST)):
            peer = ("peer", "name", f"p{link}", "address", mac, "netns", self._peers)
            self.relay("link", "add", "name", link, "type", "veth", *peer)
        for link, *addresses in (("east", RELAY, RELAY6), ("west", "10.77.2.1", "2001:db8:2::1")):
            _configure(self.relay, link, addresses)
        for link, *addresses in (("peast", HOST, ROUTER, HOST6, ROUTER6), ("pwest", OTHER_ROUTER, OTHER_ROUTER6)):
            _configure(self.peers, link, addresses)
        self.relay("route", "add", "default", "via", ROUTER)
        self.relay("route", "add", "default", "via", ROUTER6, "dev", "east")

    def relay(self, *words: str) -> str:
        return ip("-n", self.relay_name, *words)

    def peers(self, *words: str) -> str:
        return ip("-n", self._peers, *words)

    def in_relay(self, *command: str, check: bool = True) -> str:
        return run("nsenter", f"--net=/run/netns/{self.relay_name}", *command, check=check)

    def in_peers(self, *command: str) -> str:
        return run("nsenter", f"--net=/run/netns/{self._peers}", *command)

    def announce(self, address: str, link: str) -> None:
        """Have the peer speak, so that its neighbours see its Ethernet address: a gratuitous ARP."""
        self.in_peers(sys.executable, "-c", GRATUITOUS_ARP, address, link)

    def next_hops(self, manage: bool = True) -> NextHops:
        """Make a resolver whose sockets belong to the relay's namespace."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/self/ns/net") as home, open(f"/run/netns/{self.relay_name}") as there:
            assert libc.setns(there.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            try:
                return NextHops(manage=manage)
            finally:
                assert libc.setns(home.fileno(), CLONE_NEWNET) == 0

    def close(self) -> None:
        for name in (self.relay_name, self._peers):
            if Path(f"/run/netns/{name}").exists():
                ip("netns", "delete", name)


def _configure(inside: Callable[..., str], link: str, addresses: Sequence[str]) -> None:
    for address in addresses:
        length = "/64" if ":" in address else "/24"
        inside("address", "add", address + length, "dev", link, *(("nodad",) if ":" in address else ()))
    inside("link", "set", link, "up")


GRATUITOUS_ARP = """
import socket, sys
address, link = socket.inet_aton(sys.argv[1]), sys.argv[2]
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)) as raw:
    raw.bind((link, 0))
    mac = raw.getsockname()[4]
    arp = bytes.fromhex("0001080006040001") + mac + address + b"\\0" * 6 + address
    raw.send(b"\\xff" * 6 + mac + b"\\x08\\x06" + arp)
"""


def ip(*words: str) -> str:
    return run("ip", *words)


def run(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE, cwd=ROOT)
    assert done.returncode == 0 or not check, f"{' '.join(command[:6])}: {done.stderr.strip()}"
    return done.stdout


def listen(hops: NextHops) -> set[str]:
    told: set[str] = set()
    hops.on_change = told.update
    return told


def settle(hops: NextHops, seconds: float) -> None:
    """Take in events for a while."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if select.select([hops], [], [], left)[0]:
            hops.drain()


def settled(hops: NextHops, target: str, source: str = "") -> NextHop:
    deadline = time.monotonic() + PATIENCE
    while (resolved := hops.resolve(target, source)) is None and time.monotonic() < deadline:
        settle(hops, 0.05)
    assert resolved is not None, f"no next hop to {target} within {PATIENCE} s"
    settle(hops, 0.05)
    return resolved


def told_within(hops: NextHops, told: set[str], limit: float) -> set[str]:
    """Take in events until something is told, which must be within `limit` seconds of the change."""
    deadline = unhindered() + limit
    while not told and unhindered() < deadline:
        settle(hops, 0.005)
    assert told, f"no change was told within {limit} s"
    return set(told)


def hop(network: Network, interface: str, target_mac: str, source: str) -> NextHop:
    link = json.loads(network.relay("-json", "link", "show", "dev", interface))[0]
    return NextHop(link["ifindex"], interface, raw(target_mac), raw(link["address"]), source)


def raw(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))
