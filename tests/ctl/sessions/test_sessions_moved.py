# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls that a restart, another carrier or another route finds where they are."""

import json
from dataclasses import replace

import pytest

from tests.ctl.world import ALICE, AUDIO, BOB, PLANE, RELAY_A, RELAY_B, VIDEO, World, rtp_port, sdp


def test_without_xdp_the_engine_carries_the_call_and_says_why(world: World) -> None:
    world.sessions.data_plane = replace(PLANE, attached=frozenset({"eth0"}))
    _, to_alice = world.call()
    assert world.engine.flows[RELAY_A, rtp_port(to_alice)].target_address == BOB
    assert {(flow.path, flow.reason) for flow in world.sessions.query("call")} == {
        ("engine", "XDP is not attached to eth1")
    }


def test_a_restart_in_the_middle_of_a_call_is_not_noticed(world: World) -> None:
    sent = world.call(a=sdp("10.0.0.7", AUDIO, VIDEO), b=sdp(BOB, AUDIO, VIDEO))
    state = json.loads(json.dumps(world.sessions.snapshot("call")))
    world.table.writes.clear()
    world.restart()
    assert world.sessions.restore("call", state) == 0
    assert world.programmer.reconcile(world.sessions.calls()) == 0
    assert (world.table.writes, world.table.offs, world.taken()) == ([], [], (2, 2))
    assert world.call(a=sdp("10.0.0.7", AUDIO, VIDEO), b=sdp(BOB, AUDIO, VIDEO)) == sent
    assert world.table.writes == []
    assert len(world.sessions.delete("call", 0.0)) == 8


def test_a_restart_between_offer_and_answer(world: World) -> None:
    world.call()
    to_bob = world.sessions.offer("call", "b", sdp("198.51.100.99"), BOB, 0.0, toward=ALICE)
    state = json.loads(json.dumps(world.sessions.snapshot("call")))
    world.table.writes.clear()
    world.restart()
    assert world.sessions.restore("call", state) == 0
    world.sessions.answer("call", "a", sdp(ALICE), ALICE, 0.0)
    assert world.table.at((RELAY_A, rtp_port(to_bob))).target == ("198.51.100.99", 4000)


def test_a_restart_on_a_host_that_lost_xdp_moves_the_call_to_the_engine(world: World) -> None:
    world.call()
    state = world.sessions.snapshot("call")
    world.plane = replace(PLANE, attached=frozenset())
    world.restart()
    assert world.sessions.restore("call", state) == 2
    assert len(world.engine.flows) == 4


def test_calls_move_to_the_engine_and_back_while_they_last(world: World) -> None:
    _, to_alice = world.call()
    world.table.writes.clear()
    assert (world.sessions.replan(), world.table.writes) == ({}, [])
    world.table.count((RELAY_A, rtp_port(to_alice)), packets=5)
    world.sessions.data_plane = replace(PLANE, attached=frozenset())
    assert world.sessions.replan() == {}
    assert {flow.path for flow in world.sessions.query("call")} == {"engine"}
    world.sessions.data_plane = PLANE
    assert world.sessions.replan() == {}
    assert ({flow.path for flow in world.sessions.query("call")}, world.engine.flows) == ({"kernel"}, {})
    counted = [
        (report.path, report.statistics and report.statistics.packets)
        for report in world.sessions.delete("call", 0.0)
        if (report.leg, report.kind) == ("a", "rtp")
    ]
    assert counted == [("kernel", 5), ("engine", 7), ("kernel", 0)]


def test_calls_that_nothing_can_carry_are_named_and_left_alone(world: World) -> None:
    world.call()
    world.sessions.data_plane = replace(PLANE, attached=frozenset({"eth0"}), engine=False)
    assert world.sessions.replan() == {"call": "XDP is not attached to eth1, and no engine runs"}
    assert {flow.path for flow in world.sessions.query("call")} == {"kernel"}


def test_a_route_that_leaves_by_a_bare_interface_moves_the_call(world: World) -> None:
    world.call()
    old = world.hops.route
    world.hops.route = lambda target, source="": replace(old(target, source), interface="wg0")
    assert world.sessions.replan() == {}
    assert {flow.reason for flow in world.sessions.query("call")} == {"XDP is not attached to wg0"}


def test_ports_that_are_not_free_cannot_be_restored(world: World) -> None:
    world.call(a=sdp(ALICE, AUDIO, VIDEO), b=sdp(BOB, AUDIO, VIDEO))
    state = world.sessions.snapshot("call")
    world.restart()
    world.ports.restore(RELAY_B, state["proposed"]["ports"]["b"][1])
    with pytest.raises(ValueError, match="is not free"):
        world.sessions.restore("call", state)
    assert (world.taken(), world.sessions.calls()) == ((0, 1), frozenset())


def test_a_call_without_media_has_nothing_to_keep(world: World) -> None:
    assert world.sessions.snapshot("call") == {}
    assert world.sessions.restore("call", {}) == 0
    assert world.sessions.calls() == frozenset()
