# SPDX-License-Identifier: GPL-3.0-or-later
"""What strangers get: answers at a measure, silence for scanners, and nobody who is known is shut out by them."""

from __future__ import annotations

import pytest

from sip import defence
from sip.defence import Buckets, is_scanner, network
from sip.effects import Address
from sip.trunk import Trunk
from sip.trunk import network as network_of
from tests.sip.conftest import Peer, World
from tests.sip.talk import settle


def stranger(world: World, number: int = 0) -> Peer:
    return Peer(world, "mallory", f"198.51.100.{number}")


def options(peer: Peer, count: int, *extra: tuple[str, str]) -> int:
    """How many of so many OPTIONS were answered."""
    for _ in range(count):
        peer.say(peer.request("OPTIONS", "sip:example.org", *extra))
    return len(peer.heard())


def test_a_source_is_answered_at_a_measure():
    world = World(requests_per_source=10.0)
    peer = stranger(world)
    assert options(peer, 100) == 40
    assert options(stranger(world, 1), 5) == 5
    world.now += 1.0
    assert options(peer, 100) == 10
    assert world.core.defence.dropped["rate"] == 150


def test_a_source_with_users_has_more_room():
    world = World(requests_per_source=10.0)
    bert = Peer(world, "bert", "203.0.113.9")
    assert bert.register().status == 200
    assert options(bert, 200) == 200


def test_a_measure_never_fills_memory_and_forgets_the_oldest():
    buckets = Buckets(1.0, 2.0, capacity=100)
    for number in range(1000):
        assert buckets.take(number, 0.0)
    assert len(buckets) == 100
    assert [buckets.take(999, 0.0), buckets.take(999, 0.0), buckets.take(0, 0.0)] == [True, False, True]
    assert Buckets(0.0, 0.0).take("x", 0.0)


@pytest.mark.parametrize("agent", ["friendly-scanner", "SIPVicious 0.3", "sipcli/v1.8", "VaxSIPUserAgent/3.1", "iWar"])
def test_scanners_hear_nothing_from_then_on(agent):
    world = World(ban=600.0)
    peer = stranger(world)
    assert options(peer, 3, ("User-Agent", agent)) == 0
    assert options(peer, 3) == 0
    world.now += 601.0
    assert options(peer, 3) == 3
    assert world.core.defence.dropped == {"rate": 0, "scanner": 1, "banned": 5, "amplification": 0}


def test_phones_are_no_scanners():
    agents = ("Yealink SIP-T46S 66.85", "baresip v1.0.0", "Asterisk PBX 18", "Linphone/5.2", "SIPp", "Siwar", "")
    assert not any(map(is_scanner, agents))


def test_who_only_tries_doors_is_not_heard_any_more():
    world = World(ban=600.0, offences=10.0)
    peer = stranger(world)
    for number in range(20):
        peer.say(peer.request("BYE", f"sip:{number}@example.org", to_tag="x"))
    assert len(peer.heard()) == 11
    world.receive(b"nonsense\r\n\r\n", Address("198.51.100.7", 5060))
    assert options(Peer(world, "other", "198.51.100.7"), 1) == 1


def test_a_known_source_is_not_banned_by_forged_offences():
    world = World(ban=600.0, offences=10.0, requests_per_source=100.0)
    bert = Peer(world, "bert", "203.0.113.9")
    assert bert.register().status == 200
    for _ in range(300):
        world.receive(b"nonsense\r\n\r\n", bert.address)
    assert options(bert, 1, ("User-Agent", "friendly-scanner")) == 1


def test_a_trunk_is_known_by_its_networks():
    world = World(ban=600.0, offences=10.0)
    trunk = Trunk("carrier", "carrier.example", (), sources=(network_of("203.0.113.0/24"),))
    world.run(world.core.set_trunks([trunk], world.now))
    gateway = Peer(world, "carrier", "203.0.113.77")
    for _ in range(30):
        world.receive(b"nonsense\r\n\r\n", gateway.address)
    assert options(gateway, 1) == 1


def test_a_registration_that_was_restored_makes_its_source_known():
    world = World(ban=600.0, offences=10.0)
    bert = Peer(world, "bert", "203.0.113.9")
    assert bert.register().status == 200
    saved = world.core.bindings_state("bert")
    world.core = world.fresh_core()
    world.run(world.core.restore_binding("bert", saved, world.now))
    for _ in range(30):
        world.receive(b"nonsense\r\n\r\n", bert.address)
    assert options(bert, 1) == 1


def test_a_ban_list_has_an_end(monkeypatch):
    monkeypatch.setattr(defence, "MAX_SOURCES", 50)
    world = World(ban=600.0)
    for number in range(200):
        options(stranger(world, number), 1, ("User-Agent", "sipvicious"))
    assert len(world.core.defence._banned) == 50


def test_a_password_is_guessed_at_so_often_and_no_more_from_wherever():
    world = World(guesses_per_hour=20)
    anna = Peer(world, "anna", "192.0.2.7")
    assert anna.register().status == 200
    world.passwords["anna"], evaluated = "secret", 0
    for number in range(100):
        guesser = Peer(world, "anna", f"198.51.100.{number}")
        request = guesser.request("REGISTER", "sip:example.org", to="sip:anna@example.org")
        guesser.say(request)
        guesser.say(guesser.authorized(request, guesser.hears(401)[0], password=f"wrong{number}"))
        evaluated += guesser.heard()[-1].status == 401
    assert evaluated == 20
    assert anna.register().status == 200


def test_one_user_begins_so_many_calls(world):
    world = World(calls_per_user=1.0)
    anna, bert = Peer(world, "anna", "192.0.2.7"), Peer(world, "bert", "203.0.113.9")
    bert.register()
    for number in range(10):
        anna.invite("bert", call_id=f"c{number}")
        anna.heard()
    assert len([each for each in bert.heard() if each.method == "INVITE"]) == 4


def test_under_overload_calls_go_on_and_nothing_is_begun(world, talk, anna, bert):
    world.core.overloaded = True
    carl = Peer(world, "carl", "192.0.2.8")
    for method in ("REGISTER", "INVITE", "OPTIONS"):
        carl.say(carl.request(method, "sip:bert@example.org"))
        (busy,) = carl.hears(503)
        assert busy.retry_after == 5
    anna.say(anna.within(talk.ok, "BYE"))
    (bye,) = bert.hears("BYE")
    bert.reply(bye, 200)
    settle(world, 200, 16, "a")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_what_counts_as_one_source(one, other, same):
    assert (network(one) == network(other)) == same
