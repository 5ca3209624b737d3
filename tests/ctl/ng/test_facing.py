# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of our addresses a proxy has put into the descriptions that it gets back."""

from dataclasses import replace

import pytest

from ctl.ng.lifetimes import Limits
from ctl.ng.relay import Relay
from ctl.sessions.relay_choice import RelayAddress
from tests.ctl.world import ALICE, BOB, PLANE, World, address, sdp

IN, OUT, OUT6 = "192.0.2.1", "198.51.100.1", "2001:db8:b::1"
RELAYS = (RelayAddress(IN, "in"), RelayAddress(OUT, "out", "203.0.113.99"), RelayAddress(OUT6, "out"))
PROXY = "127.0.0.1"


@pytest.fixture
def relay(table, hops, engine):
    plane = replace(PLANE, interfaces={IN: "eth0", OUT: "eth1", OUT6: "eth1"}, relays=RELAYS)
    return Relay(World(table, hops, engine, plane=plane).sessions, lambda: 0.0, b"secret", limits=Limits())


def ask(relay, command, where, **keys):
    keys = {"call-id": "c", "from-tag": "a", "sdp": sdp(where).decode(), "received-from": ["IP4", where], **keys}
    reply = relay.handle({"command": command, **keys}, PROXY, 0.0)
    assert reply["result"] == "ok", reply
    return address(reply["sdp"])


@pytest.mark.parametrize(
    ("keys", "to_bob", "to_alice"),
    [
        ({}, IN, IN),
        ({"direction": ["in", "out"]}, "203.0.113.99", IN),
        ({"direction": ["out", "in"]}, IN, "203.0.113.99"),
        ({"from-interface": "out", "to-interface": "in"}, IN, "203.0.113.99"),
        ({"direction": ["in", "nowhere"]}, IN, IN),
    ],
)
def test_interfaces_are_named_by_direction(relay, keys, to_bob, to_alice) -> None:
    assert ask(relay, "offer", ALICE, **keys) == to_bob
    assert ask(relay, "answer", BOB, **{"to-tag": "b"}) == to_alice


def test_the_family_toward_the_other_is_named_by_address_family(relay) -> None:
    keys = {"direction": ["in", "out"], "address-family": "IP6"}
    assert ask(relay, "offer", ALICE, **keys) == OUT6
    answered = {"to-tag": "b", "received-from": ["IP6", "2001:db8:b::20"]}
    assert ask(relay, "answer", "2001:db8:b::20", **answered) == IN
