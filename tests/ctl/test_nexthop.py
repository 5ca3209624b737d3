# SPDX-License-Identifier: GPL-3.0-or-later
"""Against a real kernel: a relay with two links, a host and a router on the first, a router on the second."""

import ctypes
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctl.nexthop import NextHop, NextHops

RELAY, HOST, ROUTER, OTHER_ROUTER = "10.77.1.1", "10.77.1.2", "10.77.1.3", "10.77.2.3"
FAR = "203.0.113.9"
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
        for link, mac in (("east", EAST), ("west", WEST)):
            peer = ("peer", "name", f"p{link}", "address", mac, "netns", self._peers)
            self.relay("link", "add", "name", link, "type", "veth", *peer)
        for link, address in (("east", RELAY), ("west", "10.77.2.1")):
            self.relay("address", "add", f"{address}/24", "dev", link)
            self.relay("link", "set", link, "up")
        for link, address in (("peast", HOST), ("peast", ROUTER), ("pwest", OTHER_ROUTER)):
            self.peers("address", "add", f"{address}/24", "dev", link)
            self.peers("link", "set", link, "up")
        self.relay("route", "add", "default", "via", ROUTER)

    def relay(self, *words: str) -> str:
        return ip("-n", self.relay_name, *words)

    def peers(self, *words: str) -> str:
        return ip("-n", self._peers, *words)

    def in_relay(self, *command: str, check: bool = True) -> str:
        return run("nsenter", f"--net=/run/netns/{self.relay_name}", *command, check=check)

    def announce(self, address: str, link: str) -> None:
        """Have the peer speak, so that its neighbours see its Ethernet address: a gratuitous ARP."""
        run("nsenter", f"--net=/run/netns/{self._peers}", sys.executable, "-c", GRATUITOUS_ARP, address, link)

    def next_hops(self) -> NextHops:
        """Make a resolver whose sockets belong to the relay's namespace."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/self/ns/net") as home, open(f"/run/netns/{self.relay_name}") as there:
            assert libc.setns(there.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            try:
                return NextHops()
            finally:
                assert libc.setns(home.fileno(), CLONE_NEWNET) == 0

    def close(self) -> None:
        for name in (self.relay_name, self._peers):
            if Path(f"/run/netns/{name}").exists():
                ip("netns", "delete", name)


@pytest.fixture
def network() -> Iterator[Network]:
    assert os.geteuid() == 0, "network namespaces need root; run: sudo scripts/test"
    network = Network()
    try:
        network.build()
        yield network
    finally:
        network.close()


@pytest.fixture
def hops(network: Network) -> Iterator[NextHops]:
    hops = network.next_hops()
    yield hops
    hops.close()


@pytest.fixture(params=["managed", "probed"])
def resolver(request: pytest.FixtureRequest, hops: NextHops) -> NextHops:
    """With CAP_NET_ADMIN and, as a service user has it, without."""
    hops._may_manage = request.param == "managed"
    return hops


def test_a_neighbour_on_the_link(network: Network, resolver: NextHops) -> None:
    assert settled(resolver, HOST) == hop(network, "east", EAST, RELAY)


def test_a_host_behind_a_router(network: Network, resolver: NextHops) -> None:
    assert settled(resolver, FAR) == hop(network, "east", EAST, RELAY)
    route = resolver.route(FAR)
    assert route is not None
    assert (route.gateway, route.source_address, route.unicast) == (ROUTER, RELAY, True)


def test_the_change_is_told_with_the_peers_it_concerns(network: Network, resolver: NextHops) -> None:
    told = listen(resolver)
    settled(resolver, FAR)
    settled(resolver, OTHER_ROUTER)
    told.clear()
    network.relay("route", "replace", "default", "via", OTHER_ROUTER)
    assert told_within(resolver, told, LIMIT) == {FAR}
    assert settled(resolver, FAR) == hop(network, "west", WEST, "10.77.2.1")


def test_whoever_got_no_answer_is_told_though_another_got_one(network: Network, resolver: NextHops) -> None:
    told = listen(resolver)
    assert resolver.resolve(HOST) is None
    deadline = time.monotonic() + 5
    while resolver.resolve(HOST) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert told_within(resolver, told, LIMIT) == {HOST}


def test_a_router_that_moves_to_another_ethernet_address(network: Network, resolver: NextHops) -> None:
    told = listen(resolver)
    settled(resolver, FAR)
    told.clear()
    network.peers("link", "set", "peast", "address", MOVED)
    network.announce(ROUTER, "peast")
    assert told_within(resolver, told, LIMIT) == {FAR}
    assert settled(resolver, FAR) == hop(network, "east", MOVED, RELAY)


def test_our_own_ethernet_address_changes(network: Network, resolver: NextHops) -> None:
    told = listen(resolver)
    settled(resolver, HOST)
    told.clear()
    network.relay("link", "set", "east", "address", "02:00:00:00:01:77")
    assert HOST in told_within(resolver, told, 5.0)
    resolved = settled(resolver, HOST)
    assert resolved.egress_mac == bytes.fromhex("020000000177")


def test_a_link_that_goes_down_and_comes_back(network: Network, resolver: NextHops) -> None:
    told = listen(resolver)
    settled(resolver, HOST)
    told.clear()
    network.relay("link", "set", "east", "down")
    assert told_within(resolver, told, LIMIT) == {HOST}
    assert resolver.resolve(HOST) is None
    told.clear()
    network.relay("link", "set", "east", "up")
    assert HOST in told_within(resolver, told, 5.0)
    assert settled(resolver, HOST) == hop(network, "east", EAST, RELAY)


def test_a_silent_neighbour_keeps_its_last_address(network: Network, resolver: NextHops) -> None:
    told = listen(resolver)
    known = settled(resolver, HOST)
    told.clear()
    network.relay("neighbour", "delete", HOST, "dev", "east")
    network.peers("link", "set", "peast", "down")
    settle(resolver, 0.3)
    assert resolver.resolve(HOST) == known


def test_policy_routing_by_relay_address_counts(network: Network, hops: NextHops) -> None:
    network.relay("route", "add", "default", "via", OTHER_ROUTER, "table", "77")
    network.relay("rule", "add", "from", "10.77.2.1", "lookup", "77")
    assert settled(hops, FAR).interface == "east"
    assert settled(hops, FAR, "10.77.2.1") == hop(network, "west", WEST, "10.77.2.1")


def test_a_rule_that_comes_later_counts_at_once(network: Network, resolver: NextHops) -> None:
    network.relay("route", "add", "default", "via", OTHER_ROUTER, "table", "77")
    settled(resolver, FAR)
    settled(resolver, OTHER_ROUTER)
    told = listen(resolver)
    network.relay("rule", "add", "to", FAR, "lookup", "77")
    assert told_within(resolver, told, LIMIT) == {FAR}


def test_what_cannot_be_reached_by_a_frame(network: Network, hops: NextHops) -> None:
    own = hops.route(RELAY)
    assert own is not None
    assert (own.unicast, hops.resolve(RELAY)) == (False, None)
    broadcast = hops.route("10.77.1.255")
    assert broadcast is not None
    assert not broadcast.unicast
    network.relay("route", "delete", "default")
    hops.drain()
    assert (hops.route(FAR), hops.resolve(FAR)) == (None, None)
    assert hops.route(FAR, "192.0.2.77") is None


def test_addresses_know_their_interface(network: Network, hops: NextHops) -> None:
    assert (hops.interface_of(RELAY), hops.interface_of("10.77.2.1")) == ("east", "west")
    assert hops.interface_of(HOST) is None


def test_managed_neighbours_are_given_back(network: Network, hops: NextHops) -> None:
    settled(hops, HOST)
    assert "managed" in network.relay("neighbour", "show", HOST)
    hops.forget(HOST)
    assert "managed" not in network.relay("neighbour", "show", HOST)
    assert network.relay("neighbour", "show", HOST)


def test_a_neighbour_set_by_hand_is_left_alone(network: Network, hops: NextHops) -> None:
    network.relay("neighbour", "add", HOST, "lladdr", MOVED, "dev", "east", "nud", "permanent")
    assert settled(hops, HOST).target_mac == raw(MOVED)
    assert "PERMANENT" in network.relay("neighbour", "show", HOST)


def test_lost_events_are_made_good(network: Network, resolver: NextHops) -> None:
    told = listen(resolver)
    settled(resolver, FAR)
    settled(resolver, OTHER_ROUTER)
    told.clear()
    lines = "".join(
        f"route add 198.18.{n // 256}.{n % 256}/32 dev west\nroute del 198.18.{n // 256}.{n % 256}/32 dev west\n"
        for n in range(8000)
    )
    subprocess.run(["ip", "-n", network.relay_name, "-batch", "-"], input=lines, text=True, check=True, timeout=60)
    network.relay("route", "replace", "default", "via", OTHER_ROUTER)
    assert told_within(resolver, told, 5.0) == {FAR}
    assert settled(resolver, FAR).interface == "west"


def test_refresh_notices_a_move_that_nobody_announced(network: Network, hops: NextHops) -> None:
    hops._may_manage = False
    network.in_relay("sh", "-c", "echo 100 >/proc/sys/net/ipv4/neigh/east/base_reachable_time_ms")
    network.in_relay("sh", "-c", "echo 0 >/proc/sys/net/ipv4/neigh/east/delay_first_probe_time")
    settled(hops, HOST)
    network.peers("link", "set", "peast", "address", MOVED)
    told = listen(hops)
    deadline = time.monotonic() + 15
    while not told and time.monotonic() < deadline:
        hops.refresh()
        settle(hops, 0.2)
    assert settled(hops, HOST).target_mac == raw(MOVED)


def test_it_needs_no_privilege(network: Network) -> None:
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all")
    printed = network.in_relay(*nobody, sys.executable, "-c", RESOLVE, HOST)
    assert printed.split() == ["65534", "east", EAST.replace(":", "")]


GRATUITOUS_ARP = """
import socket, sys
address, link = socket.inet_aton(sys.argv[1]), sys.argv[2]
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)) as raw:
    raw.bind((link, 0))
    mac = raw.getsockname()[4]
    arp = bytes.fromhex("0001080006040001") + mac + address + b"\\0" * 6 + address
    raw.send(b"\\xff" * 6 + mac + b"\\x08\\x06" + arp)
"""

RESOLVE = """
import os, select, sys, time
from ctl.nexthop import NextHops
hops = NextHops()
deadline = time.monotonic() + 5
while hops.resolve(sys.argv[1]) is None and time.monotonic() < deadline:
    select.select([hops], [], [], 0.2)
    hops.drain()
hop = hops.resolve(sys.argv[1])
hops.close()
print(os.getuid(), hop.interface, hop.target_mac.hex())
"""


def ip(*words: str) -> str:
    return run("ip", *words)


def run(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30, cwd=ROOT)
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
    deadline = time.monotonic() + 5
    while (resolved := hops.resolve(target, source)) is None and time.monotonic() < deadline:
        settle(hops, 0.05)
    assert resolved is not None, f"no next hop to {target} within 5 s"
    settle(hops, 0.05)
    return resolved


def told_within(hops: NextHops, told: set[str], limit: float) -> set[str]:
    """Take in events until something is told, which must be within `limit` seconds of the change."""
    deadline = time.monotonic() + limit
    while not told and time.monotonic() < deadline:
        settle(hops, 0.005)
    assert told, f"no change was told within {limit} s"
    return set(told)


def hop(network: Network, interface: str, target_mac: str, source: str) -> NextHop:
    link = json.loads(network.relay("-json", "link", "show", "dev", interface))[0]
    return NextHop(link["ifindex"], interface, raw(target_mac), raw(link["address"]), source)


def raw(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))
