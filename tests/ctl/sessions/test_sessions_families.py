# SPDX-License-Identifier: GPL-3.0-or-later
"""IPv4, IPv6, and calls that cross: each party is offered an address of its own family."""

import json
from dataclasses import replace
from typing import Any

import pytest

from ctl.kernel.flowrule import FlowState
from ctl.sessions.dataplane import DataPlane
from ctl.sessions.media_sessions import MediaRefused
from ctl.sessions.relay_choice import Facing, RelayAddress
from tests.ctl.world import ALICE, AUDIO, BOB, PLANE, World, address, rtp_port, sdp

RELAY_A4, RELAY_B4, RELAY_A6, RELAY_B6 = "192.0.2.1", "198.51.100.1", "2001:db8:a::1", "2001:db8:b::1"
ALICE6, BOB6 = "2001:db8:a::10", "2001:db8:b::20"
BOTH = DataPlane({RELAY_A4: "eth0", RELAY_B4: "eth1", RELAY_A6: "eth0", RELAY_B6: "eth1"}, frozenset({"eth0", "eth1"}))


@pytest.fixture
def both(table: Any, hops: Any, engine: Any) -> World:
    return World(table, hops, engine, plane=BOTH)


@pytest.mark.parametrize(
    ("alice", "bob", "to_alice", "to_bob"),
    [
        (ALICE, BOB, RELAY_A4, RELAY_B4),
        (ALICE6, BOB6, RELAY_A6, RELAY_B6),
        (ALICE, BOB6, RELAY_A4, RELAY_B6),
        (ALICE6, BOB, RELAY_A6, RELAY_B4),
    ],
)
def test_each_party_gets_an_address_of_its_family(
    both: World, alice: str, bob: str, to_alice: str, to_bob: str
) -> None:
    offered = both.sessions.offer("call", "a", sdp(alice), alice, 0.0, toward=bob)
    answered = both.sessions.answer("call", "b", sdp(bob), bob, 0.0)
    assert (address(offered), address(answered)) == (to_bob, to_alice)
    kind = "IP6" if ":" in to_bob else "IP4"
    assert f"o=- 1 1 IN {kind} {to_bob}\r\n" in offered.decode()
    there = both.table.at((to_alice, rtp_port(answered)))
    assert (there.source, there.egress, there.target) == ((alice, 4000), (to_bob, rtp_port(offered)), (bob, 4000))
    back = both.table.at((to_bob, rtp_port(offered)))
    assert (back.source, back.egress, back.target) == ((bob, 4000), (to_alice, rtp_port(answered)), (alice, 4000))
    assert {flow.path for flow in both.sessions.query("call")} == {"kernel"}


def test_the_family_is_that_of_the_media_and_not_of_the_signalling(both: World) -> None:
    offered = both.sessions.offer("call", "a", sdp(ALICE), ALICE6, 0.0, toward=BOB6)
    answered = both.sessions.answer("call", "b", sdp(BOB6), BOB6, 0.0)
    assert (address(answered), address(offered)) == (RELAY_A4, RELAY_B6)


def test_a_party_whose_family_we_have_not_is_offered_the_other(world: World) -> None:
    assert address(world.sessions.offer("call", "a", sdp(ALICE), ALICE, 0.0, toward=BOB6)) == "198.51.100.1"
    with pytest.raises(MediaRefused, match="there is no relay address of IPv6; offer an IPv4 address") as refused:
        world.sessions.offer("other", "a", sdp(ALICE6), ALICE6, 0.0, toward=BOB)
    assert refused.value.status == 488
    assert world.taken() == (1, 1)


def test_the_family_of_the_other_side_may_be_asked_for(both: World) -> None:
    offered = both.sessions.offer("call", "a", sdp(ALICE), ALICE, 0.0, toward=BOB, there=Facing(family=6))
    assert address(offered) == RELAY_B6


def test_an_answer_of_the_other_family_is_refused(both: World) -> None:
    both.sessions.offer("call", "a", sdp(ALICE), ALICE, 0.0, toward=BOB)
    with pytest.raises(MediaRefused, match="an IPv6 address in answer to an IPv4 one") as refused:
        both.sessions.answer("call", "b", sdp(BOB6), BOB6, 0.0)
    assert refused.value.status == 488


def test_m_lines_of_both_families_are_refused(both: World) -> None:
    mixed = sdp(ALICE, AUDIO, f"m=audio 4004 RTP/AVP 0\r\nc=IN IP6 {ALICE6}\r\n")
    with pytest.raises(MediaRefused, match="m-lines of IPv4 and of IPv6"):
        both.sessions.offer("call", "a", mixed, ALICE, 0.0, toward=BOB)


def test_hold_by_address_is_passed_on_in_the_other_family(both: World) -> None:
    both.sessions.offer("call", "a", sdp(ALICE), ALICE, 0.0, toward=BOB6)
    both.sessions.answer("call", "b", sdp(BOB6), BOB6, 0.0)
    held = both.sessions.offer("call", "a", sdp("0.0.0.0"), ALICE, 0.0)
    assert b"c=IN IP6 ::\r\n" in held
    answered = both.sessions.answer("call", "b", sdp("::"), BOB6, 0.0)
    assert b"c=IN IP4 0.0.0.0\r\n" in answered
    assert {flow.state for flow in both.sessions.query("call")} == {"held"}


def test_a_party_that_changes_its_family_changes_its_ports_and_nobody_elses(both: World) -> None:
    offered = both.sessions.offer("call", "a", sdp(ALICE), ALICE, 0.0, toward=BOB)
    first = both.sessions.answer("call", "b", sdp(BOB), BOB, 0.0)
    again = both.sessions.offer("call", "a", sdp(ALICE6), ALICE6, 1.0, toward=BOB)
    second = both.sessions.answer("call", "b", sdp(BOB), BOB, 1.0)
    assert (address(first), address(second)) == (RELAY_A4, RELAY_A6)
    assert (address(again), rtp_port(again)) == (RELAY_B4, rtp_port(offered))
    assert both.table.at((RELAY_A6, rtp_port(second))).source == (ALICE6, 4000)
    assert both.table.at((RELAY_A4, rtp_port(first))).state == FlowState.OFF
    both.sessions.delete("call", 2.0)
    assert [both.ports.taken(relay) for relay in BOTH.interfaces] == [0, 0, 0, 0]


def test_spellings_of_one_address_are_one(both: World) -> None:
    both.sessions.offer("call", "a", sdp("2001:DB8:a:0::10"), "2001:db8:A::10", 0.0, toward=BOB6)
    answered = both.sessions.answer("call", "b", sdp(BOB6), BOB6, 0.0)
    assert both.table.at((RELAY_A6, rtp_port(answered))).source == (ALICE6, 4000)


def test_a_unique_local_address_behind_a_translator_learns_its_port(both: World) -> None:
    both.sessions.offer("call", "a", sdp("fd00::10"), ALICE6, 0.0, toward=BOB6)
    answered = both.sessions.answer("call", "b", sdp(BOB6), BOB6, 0.0)
    rule = both.table.at((RELAY_A6, rtp_port(answered)))
    assert (rule.state, rule.source[0]) == (FlowState.LEARNING, ALICE6)


@pytest.mark.parametrize("own", [RELAY_B6, "2001:db8:b:0:0::1", "198.51.100.77"])
def test_our_own_addresses_are_refused_however_they_are_known(table: Any, hops: Any, engine: Any, own: str) -> None:
    relays = (*map(RelayAddress, (RELAY_A4, RELAY_A6, RELAY_B6)), RelayAddress(RELAY_B4, "pub", "198.51.100.77"))
    both = World(table, hops, engine, plane=replace(BOTH, relays=relays))
    with pytest.raises(MediaRefused, match="is the relay's own address; media would loop") as refused:
        both.sessions.offer("call", "a", sdp(own), ALICE, 0.0, toward=BOB)
    assert refused.value.status == 488


def test_an_ipv6_address_of_this_host_is_refused(both: World) -> None:
    both.hops.here.add("2001:db8:c::9")
    with pytest.raises(MediaRefused, match="this host's own"):
        both.sessions.offer("call", "a", sdp("2001:db8:c::9"), ALICE6, 0.0, toward=BOB)


def test_interfaces_are_chosen_by_name_and_show_what_is_advertised(table: Any, hops: Any, engine: Any) -> None:
    relays = (RelayAddress(RELAY_A4, "in"), RelayAddress(RELAY_B4, "out", "203.0.113.99"))
    plane = replace(PLANE, relays=relays)
    world = World(table, hops, engine, plane=plane)
    offered = world.sessions.offer(
        "call", "a", sdp(ALICE), ALICE, 0.0, toward=BOB, here=Facing("out"), there=Facing("in")
    )
    answered = world.sessions.answer("call", "b", sdp(BOB), BOB, 0.0)
    assert (address(offered), address(answered)) == (RELAY_A4, "203.0.113.99")
    assert world.table.at((RELAY_B4, rtp_port(answered))).egress == (RELAY_A4, rtp_port(offered))
    with pytest.raises(MediaRefused, match="there is no media interface dmz; configured are in, out") as refused:
        world.sessions.offer("other", "a", sdp(ALICE), ALICE, 0.0, toward=BOB, there=Facing("dmz"))
    assert refused.value.status == 503


def test_crossed_calls_survive_a_restart(both: World) -> None:
    both.sessions.offer("call", "a", sdp(ALICE), ALICE, 0.0, toward=BOB6, here=Facing(latch=True))
    both.sessions.answer("call", "b", sdp(BOB6), BOB6, 0.0)
    state = json.loads(json.dumps(both.sessions.snapshot("call")))
    rules = dict(both.table.rules)
    both.restart()
    assert both.sessions.restore("call", state) == 0
    assert both.table.rules == rules
    assert json.loads(json.dumps(both.sessions.snapshot("call"))) == state
