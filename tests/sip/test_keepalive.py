# SPDX-License-Identifier: GPL-3.0-or-later
"""Phones behind NAT are asked every so often, and nobody else is."""

from __future__ import annotations

from itertools import pairwise

import pytest

from sip.core import Core
from sip.effects import Address
from sip.parser import parse
from sip.sharing import Among, OwnChannels
from tests.sip.conftest import SERVER, Peer, World

EVERY = 25
INSIDE = "<sip:bert@192.168.1.9:5060>"


@pytest.fixture
def world() -> World:
    return World(nat_keepalive=EVERY)


@pytest.fixture
def bert(world):
    """A phone whose Contact is not the address that it comes from."""
    peer = Peer(world, "bert", "203.0.113.9", 40001)
    assert peer.register(("Expires", "3600"), contact=INSIDE).status == 200
    return peer


def asked(world, seconds):
    """What went out within so many seconds, with its time and target."""
    world.wire.clear()
    began = world.now
    world.pass_time(seconds)
    return [(at - began, send.target, parse(send.data)) for at, send in world.wire]


def test_a_phone_behind_nat_is_asked_where_it_came_from(world, bert):
    found = asked(world, 4 * EVERY)
    assert len(found) == 4
    assert {round(later - sooner) for (sooner, *_), (later, *_) in pairwise(found)} == {EVERY}
    assert {target for _, target, _ in found} == {bert.address}
    request = found[0][2]
    assert (request.method, request.uri) == ("OPTIONS", "sip:bert@192.168.1.9:5060")
    assert len({message.call_id for *_, message in found}) == 4
    bert.reply(request, 200)
    assert (world.core.counts()["transactions"], world.core.counts()["dialogs"]) == (0, 0)


def test_others_are_left_alone(world):
    world.run(world.core.set_trunks([], world.now))
    assert Peer(world, "anna", "192.0.2.7").register().status == 200
    by_tcp = Peer(world, "carl", "203.0.113.30")
    by_tcp.address = Address("203.0.113.30", 40000, "tcp", inbound=True)
    assert by_tcp.register(contact="<sip:carl@192.168.1.3;transport=tcp>").status == 200
    assert asked(world, 2 * EVERY) == []


def test_it_ends_with_the_registration(world, bert):
    bert.register(("Expires", "0"), contact=INSIDE)
    assert asked(world, 2 * EVERY) == []
    assert world.core.counts()["timers"] == 0
    bert.register(("Expires", "60"), contact=INSIDE)
    assert len(asked(world, 10 * EVERY)) in (2, 3)
    assert world.core.counts()["timers"] == 0


def test_by_default_of_the_core_nobody_is_asked(bert):
    quiet = World()
    peer = Peer(quiet, "bert", "203.0.113.9", 40001)
    peer.register(contact=INSIDE)
    assert asked(quiet, 100) == []


def test_after_a_restart_it_goes_on(world, bert):
    state = world.core.bindings_state("bert")
    world.core = world.fresh_core()
    world.run(world.core.restore_binding("bert", state, world.now))
    assert len(asked(world, EVERY)) == 1


@pytest.mark.parametrize("leads", [True, False])
def test_of_several_processes_one_asks(world, bert, leads):
    state = world.core.bindings_state("bert")
    among = Among(lambda _kin: "id", OwnChannels(), leads)
    world.core = Core(world.settings, lambda: "t", lambda peer: SERVER, among=among)
    world.run(world.core.restore_binding("bert", state, world.now))
    assert len(asked(world, EVERY)) == leads


def test_contacts_of_one_user_are_asked_one_by_one(world, bert):
    other = Peer(world, "bert", "203.0.113.10", 40002)
    assert other.register(call_id="two", contact="<sip:bert@192.168.1.10>").status == 200
    assert {target.port for _, target, _ in asked(world, EVERY)} == {40001, 40002}
