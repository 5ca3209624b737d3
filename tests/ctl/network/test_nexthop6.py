# SPDX-License-Identifier: GPL-3.0-or-later
"""What IPv6 has of its own: neighbour discovery, addresses of groups, routers of both families."""

import pytest

from ctl.network.nexthop import NextHops
from tests.ctl.routed import (
    HOST6,
    LIMIT,
    MOVED,
    OTHER_ROUTER6,
    RELAY6,
    WEST,
    Network,
    hop,
    listen,
    settled,
    told_within,
)


def test_a_neighbour_that_moves_to_another_ethernet_address(network: Network, resolver: NextHops) -> None:
    network.in_peers("sysctl", "-qw", "net.ipv6.conf.peast.ndisc_notify=1")
    told = listen(resolver)
    settled(resolver, HOST6)
    told.clear()
    network.peers("link", "set", "peast", "address", MOVED)
    assert told_within(resolver, told, LIMIT) == {HOST6}
    assert settled(resolver, HOST6) == hop(network, "east", MOVED, RELAY6)


def test_an_ipv4_host_behind_an_ipv6_router(network: Network, next_hops: NextHops) -> None:
    network.relay("route", "add", "198.51.100.0/24", "via", "inet6", OTHER_ROUTER6, "dev", "west")
    assert settled(next_hops, "198.51.100.9") == hop(network, "west", WEST, "10.77.2.1")


@pytest.mark.parametrize("special", [RELAY6, "ff02::1"])
def test_what_cannot_be_reached_by_a_frame(next_hops: NextHops, special: str) -> None:
    route = next_hops.route(special)
    assert route is None or not route.unicast
    assert next_hops.resolve(special) is None


def test_managed_neighbours_are_given_back(network: Network, next_hops: NextHops) -> None:
    settled(next_hops, HOST6)
    assert "managed" in network.relay("neighbour", "show", HOST6)
    next_hops.forget(HOST6)
    next_hops.refresh()
    assert "managed" not in network.relay("neighbour", "show", HOST6)
