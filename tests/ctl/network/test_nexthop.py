# SPDX-License-Identifier: GPL-3.0-or-later
"""Against a real kernel: a relay with two links, a host and a router on the first, a router on the second.

What only one of both families has is tested for IPv4, or in test_nexthop6.py.
"""

import subprocess
import sys
import time
from dataclasses import dataclass

import pytest

from ctl.network.nexthop import NextHops
from tests.ctl.routed import (
    EAST,
    FAR,
    FAR6,
    HOST,
    HOST6,
    LIMIT,
    MOVED,
    OTHER_ROUTER,
    OTHER_ROUTER6,
    RELAY,
    RELAY6,
    ROUTER,
    ROUTER6,
    WEST,
    Network,
    hop,
    listen,
    raw,
    settle,
    settled,
    told_within,
)
from tests.patience import PATIENCE


@dataclass(frozen=True)
class Family:
    """The relay's addresses, on its first link and the second, and those that it reaches."""

    relay: str
    west: str
    host: str
    router: str
    other_router: str
    far: str


@pytest.fixture(params=["IPv4", "IPv6"])
def family(request: pytest.FixtureRequest) -> Family:
    if request.param == "IPv4":
        return Family(RELAY, "10.77.2.1", HOST, ROUTER, OTHER_ROUTER, FAR)
    return Family(RELAY6, "2001:db8:2::1", HOST6, ROUTER6, OTHER_ROUTER6, FAR6)


def test_a_neighbour_on_the_link(network: Network, resolver: NextHops, family: Family) -> None:
    assert settled(resolver, family.host) == hop(network, "east", EAST, family.relay)


def test_a_host_behind_a_router(network: Network, resolver: NextHops, family: Family) -> None:
    """That of IPv6 has a link-local address."""
    assert settled(resolver, family.far) == hop(network, "east", EAST, family.relay)
    route = resolver.route(family.far)
    assert route is not None
    assert (route.gateway, route.source_address, route.unicast) == (family.router, family.relay, True)


def test_the_change_is_told_with_the_peers_it_concerns(network: Network, resolver: NextHops, family: Family) -> None:
    told = listen(resolver)
    settled(resolver, family.far)
    settled(resolver, family.other_router)
    told.clear()
    network.relay("route", "replace", "default", "via", family.other_router)
    assert told_within(resolver, told, LIMIT) == {family.far}
    assert settled(resolver, family.far) == hop(network, "west", WEST, family.west)


def test_whoever_got_no_answer_is_told_though_another_got_one(network: Network, resolver: NextHops) -> None:
    told = listen(resolver)
    assert resolver.resolve(HOST) is None
    deadline = time.monotonic() + PATIENCE
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


def test_policy_routing_by_relay_address_counts(network: Network, next_hops: NextHops) -> None:
    network.relay("route", "add", "default", "via", OTHER_ROUTER, "table", "77")
    network.relay("rule", "add", "from", "10.77.2.1", "lookup", "77")
    assert settled(next_hops, FAR).interface == "east"
    assert settled(next_hops, FAR, "10.77.2.1") == hop(network, "west", WEST, "10.77.2.1")


def test_a_rule_that_comes_later_counts_at_once(network: Network, resolver: NextHops, family: Family) -> None:
    network.relay("route", "add", "default", "via", family.other_router, "table", "77")
    settled(resolver, family.far)
    settled(resolver, family.other_router)
    told = listen(resolver)
    network.relay("-6" if ":" in family.far else "-4", "rule", "add", "to", family.far, "lookup", "77")
    assert told_within(resolver, told, LIMIT) == {family.far}


def test_what_cannot_be_reached_by_a_frame(network: Network, next_hops: NextHops) -> None:
    own = next_hops.route(RELAY)
    assert own is not None
    assert (own.unicast, next_hops.resolve(RELAY)) == (False, None)
    broadcast = next_hops.route("10.77.1.255")
    assert broadcast is not None
    assert not broadcast.unicast
    network.relay("route", "delete", "default")
    next_hops.drain()
    assert (next_hops.route(FAR), next_hops.resolve(FAR)) == (None, None)
    assert next_hops.route(FAR, "192.0.2.77") is None


def test_addresses_know_their_interface(network: Network, next_hops: NextHops, family: Family) -> None:
    assert (next_hops.interface_of(family.relay), next_hops.interface_of(family.west)) == ("east", "west")
    assert next_hops.interface_of(family.host) is None


def test_managed_neighbours_are_given_back(network: Network, next_hops: NextHops) -> None:
    settled(next_hops, HOST)
    assert "managed" in network.relay("neighbour", "show", HOST)
    next_hops.forget(HOST)
    assert settled(next_hops, HOST)  # by the next call to the same peer
    next_hops.refresh()
    assert "managed" in network.relay("neighbour", "show", HOST)
    next_hops.forget(HOST)
    next_hops.refresh()
    assert "managed" not in network.relay("neighbour", "show", HOST)
    assert network.relay("neighbour", "show", HOST)


def test_a_neighbour_set_by_hand_is_left_alone(network: Network, next_hops: NextHops) -> None:
    network.relay("neighbour", "add", HOST, "lladdr", MOVED, "dev", "east", "nud", "permanent")
    assert settled(next_hops, HOST).target_mac == raw(MOVED)
    assert "PERMANENT" in network.relay("neighbour", "show", HOST)


def test_lost_events_are_made_good(network: Network, resolver: NextHops) -> None:
    told = listen(resolver)
    settled(resolver, FAR)
    settled(resolver, OTHER_ROUTER)
    told.clear()
    overrun(network)
    network.relay("route", "replace", "default", "via", OTHER_ROUTER)
    assert told_within(resolver, told, 5.0) == {FAR}
    assert settled(resolver, FAR).interface == "west"


def test_a_link_that_changed_while_events_were_lost(network: Network, resolver: NextHops) -> None:
    told = listen(resolver)
    settled(resolver, HOST)
    told.clear()
    overrun(network)
    network.relay("link", "set", "east", "address", "02:00:00:00:01:55")
    assert told_within(resolver, told, 5.0) == {HOST}
    assert settled(resolver, HOST).egress_mac == raw("02:00:00:00:01:55")


@pytest.mark.parametrize("resolver", ["probed"], indirect=True)
def test_refresh_notices_a_move_that_nobody_announced(network: Network, resolver: NextHops) -> None:
    hops = resolver
    network.in_relay("sh", "-c", "echo 100 >/proc/sys/net/ipv4/neigh/east/base_reachable_time_ms")
    network.in_relay("sh", "-c", "echo 0 >/proc/sys/net/ipv4/neigh/east/delay_first_probe_time")
    settled(hops, HOST)
    network.peers("link", "set", "peast", "address", MOVED)
    told = listen(hops)
    deadline = time.monotonic() + PATIENCE
    while not told and time.monotonic() < deadline:
        hops.refresh()
        settle(hops, 0.2)
    assert settled(hops, HOST).target_mac == raw(MOVED)


def test_it_needs_no_privilege(network: Network) -> None:
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all")
    printed = network.in_relay(*nobody, sys.executable, "-c", RESOLVE, HOST)
    assert printed.split() == ["65534", "east", EAST.replace(":", "")]


def overrun(network: Network) -> None:
    """More events than the socket holds; what comes after them is lost, too."""
    lines = "".join(
        f"route add 198.18.{n // 256}.{n % 256}/32 dev west\nroute del 198.18.{n // 256}.{n % 256}/32 dev west\n"
        for n in range(8000)
    )
    subprocess.run(["ip", "-n", network.relay_name, "-batch", "-"], input=lines, text=True, check=True, timeout=600)


RESOLVE = """
import os, select, sys, time
from ctl.network.nexthop import NextHops
hops = NextHops()
deadline = time.monotonic() + 60
while hops.resolve(sys.argv[1]) is None and time.monotonic() < deadline:
    select.select([hops], [], [], 0.2)
    hops.drain()
hop = hops.resolve(sys.argv[1])
hops.close()
print(os.getuid(), hop.interface, hop.target_mac.hex())
"""
