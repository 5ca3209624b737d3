# SPDX-License-Identifier: GPL-3.0-or-later
import pytest

from ctl.network.nexthop import Route
from ctl.sessions.relay_choice import ANY, Facing, NoRelayAddress, RelayAddress, choose

PUB4 = RelayAddress("203.0.113.1", "pub", advertised="198.51.100.77", signalling=frozenset({"203.0.113.5"}))
PUB6 = RelayAddress("2001:db8::1", "pub")
PRIV = RelayAddress("10.0.0.1", "priv")
PLAIN = RelayAddress("192.0.2.1")
RELAYS = (PUB4, PUB6, PRIV, PLAIN)
DEVICES = {PUB4.address: "eth0", PUB6.address: "eth0", PRIV.address: "eth1", PLAIN.address: "eth1"}


def route(device: str, source: str) -> Route:
    return Route(1, device, source, source, unicast=True)


@pytest.mark.parametrize(
    ("wanted", "family", "by", "default", "chosen"),
    [
        (ANY, 4, route("eth1", "10.0.0.1"), "", PRIV),
        (ANY, 4, route("eth1", "10.0.0.99"), "", PRIV),
        (ANY, 4, route("eth1", "192.0.2.1"), "", PLAIN),
        (ANY, 4, route("eth7", "172.16.0.1"), "", PUB4),
        (ANY, 4, None, "", PUB4),
        (ANY, None, route("eth0", "2001:db8::1"), "", PUB6),
        (ANY, None, route("eth0", "203.0.113.1"), "", PUB4),
        (ANY, 6, route("eth1", "10.0.0.1"), "", PUB6),
        (ANY, 4, route("eth1", "10.0.0.1"), "pub", PUB4),
        (ANY, 6, None, "pub", PUB6),
        (Facing("priv"), 4, route("eth0", "203.0.113.1"), "pub", PRIV),
        (Facing("pub"), 6, None, "", PUB6),
        (Facing(signalling="203.0.113.5"), 4, route("eth1", "10.0.0.1"), "priv", PUB4),
        (Facing(signalling="10.0.0.1"), 4, None, "pub", PRIV),
        (Facing(signalling="10.99.0.1"), 4, None, "pub", PUB4),
        (Facing("priv", signalling="203.0.113.5"), 4, None, "", PRIV),
    ],
)
def test_name_beats_signalling_beats_default_beats_route(wanted, family, by, default, chosen) -> None:
    assert choose(RELAYS, DEVICES, wanted, family, by, default) == chosen


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(NoRelayAddress, match="there is no media interface dmz; configured are priv, pub"):
        choose(RELAYS, DEVICES, Facing("dmz"), 4, None)
    with pytest.raises(NoRelayAddress, match="media interface priv has no relay address of IPv6; offer an IPv4"):
        choose(RELAYS, DEVICES, Facing("priv"), 6, None)
    with pytest.raises(NoRelayAddress, match="there is no relay address of IPv6; offer an IPv4 address"):
        choose((PLAIN,), DEVICES, ANY, 6, None)


def test_peers_see_what_is_advertised() -> None:
    assert (PUB4.shown, PUB6.shown) == ("198.51.100.77", "2001:db8::1")
