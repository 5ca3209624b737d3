# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may send, as a call changes: pinned, learned, latched, and the former source until the new one is heard."""

from dataclasses import replace
from typing import Any

from ctl.kernel.flowrule import FlowFlag, FlowState
from ctl.sessions.relay_choice import Facing
from tests.ctl.world import ALICE, AUDIO, BOB, PLANE, RELAY_A, RELAY_B, World, rtp_port, sdp

MOVED = AUDIO.replace("m=audio 4000", "m=audio 6000")


def rule_of(world: World, relay: str, port: int) -> Any:
    return world.table.at((relay, port))


def test_latching_is_for_the_leg_that_asked_for_it(world: World) -> None:
    world.sessions.offer("call", "a", sdp(ALICE), ALICE, 0.0, toward=BOB, there=Facing(latch=True))
    world.sessions.answer("call", "b", sdp(BOB), BOB, 0.0)
    states = {(flow.leg, flow.kind): flow.state for flow in world.sessions.query("call")}
    assert states == {(leg, kind): "pinned" if leg == "a" else "latching" for leg in "ab" for kind in ("rtp", "rtcp")}
    latching = [rule for rule in world.table.rules.values() if rule.state == FlowState.LATCHING]
    assert {rule.source[0] for rule in latching} == {BOB}
    assert {rule.latch_packets for rule in latching} == {5}
    world.call(a=sdp(ALICE, MOVED))
    assert len([rule for rule in world.table.rules.values() if rule.state == FlowState.LATCHING]) == 2


def test_a_reinvite_keeps_the_former_source_until_the_new_one_is_heard(world: World) -> None:
    _, to_alice = world.call()
    port = rtp_port(to_alice)
    world.call(a=sdp(ALICE, MOVED))
    rule = rule_of(world, RELAY_A, port)
    assert (rule.source, rule.previous_source) == ((ALICE, 6000), (ALICE, 4000))
    world.call(a=sdp(ALICE, AUDIO.replace("m=audio 4000", "m=audio 8000")))
    rule = rule_of(world, RELAY_A, port)
    assert (rule.source, rule.previous_source) == ((ALICE, 8000), (ALICE, 4000)), "6000 was never heard"
    world.table.settled_flows.add(world.table.index(RELAY_A, port))
    world.call(a=sdp(ALICE, MOVED))
    assert rule_of(world, RELAY_A, port).previous_source == (ALICE, 8000)


def test_back_to_where_it_was_has_no_former_source(world: World) -> None:
    _, to_alice = world.call()
    world.call(a=sdp(ALICE, MOVED))
    world.call()
    rule = rule_of(world, RELAY_A, rtp_port(to_alice))
    assert (rule.source, rule.previous_source) == ((ALICE, 4000), None)


def test_the_other_direction_loses_nothing(world: World) -> None:
    to_bob, _ = world.call()
    world.call(a=sdp(ALICE, MOVED))
    rule = rule_of(world, RELAY_B, rtp_port(to_bob))
    assert (rule.source, rule.previous_source, rule.target) == ((BOB, 4000), None, (ALICE, 6000))


def test_a_learned_port_is_the_former_source(world: World) -> None:
    _, to_alice = world.call(a=sdp("10.0.0.9"))
    port = rtp_port(to_alice)
    world.table.count((RELAY_A, port), learned_port=40001, learned_source=(ALICE, 40001))
    world.call(a=sdp("192.0.2.99"))
    rule = rule_of(world, RELAY_A, port)
    assert (rule.source, rule.previous_source) == (("192.0.2.99", 4000), (ALICE, 40001))


def test_a_next_hop_that_moves_keeps_the_former_source(world: World) -> None:
    _, to_alice = world.call()
    port = rtp_port(to_alice)
    world.call(a=sdp(ALICE, MOVED))
    world.hops.macs["eth1"] = b"\x02\0\0\0\0\x99"
    assert world.programmer.next_hops_changed({BOB}) == 2
    assert rule_of(world, RELAY_A, port).previous_source == (ALICE, 4000)


def test_a_restart_does_not_forget_the_former_source(world: World) -> None:
    world.call()
    world.call(a=sdp(ALICE, MOVED))
    state, rules = world.sessions.snapshot("call"), dict(world.table.rules)
    world.restart()
    assert world.sessions.restore("call", state) == 0
    assert world.table.rules == rules


def test_flows_are_policed_by_codec_and_packet_time(table: Any, hops: Any, engine: Any) -> None:
    world = World(table, hops, engine, plane=replace(PLANE, police=3.0))
    _, to_alice = world.call(a=sdp(ALICE, AUDIO.replace("ptime:20", "ptime:10")))
    port = rtp_port(to_alice)
    assert rule_of(world, RELAY_A, port).police == (300, 300)
    assert rule_of(world, RELAY_A, port + 1).police == (30, 50)


def test_pictures_are_not_policed(table: Any, hops: Any, engine: Any) -> None:
    world = World(table, hops, engine, plane=replace(PLANE, police=3.0))
    video = "m=video 4002 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n"
    world.call(a=sdp(ALICE, video), b=sdp(BOB, video))
    assert {rule.police for rule in world.table.rules.values()} == {None}


def test_rtcp_on_the_same_port_and_telephone_events_are_told_to_the_kernel(world: World) -> None:
    mux = AUDIO + "a=rtcp-mux\r\n"
    world.call(a=sdp(ALICE, mux), b=sdp(BOB, mux.replace("101", "97")))
    by_source = {rule.source[0]: rule for rule in world.table.rules.values()}
    assert len(world.table.rules) == 2
    assert all(rule.flags & FlowFlag.RTCP_MUX for rule in by_source.values())
    assert {source: rule.dtmf_type for source, rule in by_source.items()} == {ALICE: 97, BOB: 101}
