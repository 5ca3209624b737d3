# SPDX-License-Identifier: GPL-3.0-or-later
"""The same as test_nexthop.py for IPv6, where it is different: routers by link-local address, neighbour discovery."""

import pytest

from ctl.network.nexthop import NextHops
from tests.ctl.routed import (
    EAST,
    FAR6,
    HOST6,
    LIMIT,
    MOVED,
    OTHER_ROUTER6,
    RELAY6,
    ROUTER6,
    WEST,
    Network,
    hop,
    listen,
    settled,
    told_within,
)


def test_a_neighbour_on_the_link(network: Network, resolver: NextHops) -> None:
    assert settled(resolver, HOST6) == hop(network, "east", EAST, RELAY6)


def test_a_host_behind_a_router_that_has_a_link_local_address(network: Network, next_hops: NextHops) -> None:
    assert settled(next_hops, FAR6) == hop(network, "east", EAST, RELAY6)
    route = next_hops.route(FAR6)
    assert route is not None
    assert (route.gateway, route.source_address, route.unicast) == (ROUTER6, RELAY6, True)


def test_a_route_that_moves(network: Network, resolver: NextHops) -> None:
    told = listen(resolver)
    settled(resolver, FAR6)
    settled(resolver, OTHER_ROUTER6)
    told.clear()
    network.relay("route", "replace", "default", "via", OTHER_ROUTER6)
    assert told_within(resolver, told, LIMIT) == {FAR6}
    assert settled(resolver, FAR6) == hop(network, "west", WEST, "2001:db8:2::1")


def test_a_neighbour_that_moves_to_another_ethernet_address(network: Network, resolver: NextHops) -> None:
    network.in_peers("sysctl", "-qw", "net.ipv6.conf.peast.ndisc_notify=1")
    told = listen(resolver)
    settled(resolver, HOST6)
    told.clear()
    network.peers("link", "set", "peast", "address", MOVED)
    assert told_within(resolver, told, LIMIT) == {HOST6}
    assert settled(resolver, HOST6) == hop(network, "east", MOVED, RELAY6)


def test_a_rule_counts_at_once(network: Network, next_hops: NextHops) -> None:
    network.relay("route", "add", "default", "via", OTHER_ROUTER6, "table", "77")
    settled(next_hops, FAR6)
    settled(next_hops, OTHER_ROUTER6)
    told = listen(next_hops)
    network.relay("-6", "rule", "add", "to", FAR6, "lookup", "77")
    assert told_within(next_hops, told, LIMIT) == {FAR6}


def test_an_ipv4_host_behind_an_ipv6_router(network: Network, next_hops: NextHops) -> None:
    network.relay("route", "add", "198.51.100.0/24", "via", "inet6", OTHER_ROUTER6, "dev", "west")
    assert settled(next_hops, "198.51.100.9") == hop(network, "west", WEST, "10.77.2.1")


@pytest.mark.parametrize("special", [RELAY6, "ff02::1"])
def test_what_cannot_be_reached_by_a_frame(next_hops: NextHops, special: str) -> None:
    route = next_hops.route(special)
    assert route is None or not route.unicast
    assert next_hops.resolve(special) is None


def test_addresses_know_their_interface(next_hops: NextHops) -> None:
    assert (next_hops.interface_of(RELAY6), next_hops.interface_of("2001:db8:2::1")) == ("east", "west")
    assert next_hops.interface_of(HOST6) is None


def test_managed_neighbours_are_given_back(network: Network, next_hops: NextHops) -> None:
    settled(next_hops, HOST6)
    assert "managed" in network.relay("neighbour", "show", HOST6)
    next_hops.forget(HOST6)
    next_hops.refresh()
    assert "managed" not in network.relay("neighbour", "show", HOST6)
