# SPDX-License-Identifier: GPL-3.0-or-later
"""ICE through the media sessions: what each leg is told, what the engine and the kernel are, and who carries what."""

import json
from dataclasses import replace

import pytest

from ctl.kernel.flowrule import FlowAction, FlowState
from ctl.sessions.ice import IcePair
from ctl.sessions.media_sessions import MediaRefused
from ctl.sessions.relay_choice import Facing
from ctl.sessions.terms import beside
from tests.ctl.world import ALICE, BOB, RELAY_A, RELAY_B, World, address, rtp_port, sdp

LITE, FULL, REMOVED = Facing(ice="lite"), Facing(ice="full"), Facing()
PHONE, MOVED = ("203.0.113.5", 40000), ("203.0.113.99", 41000)
NAMES = "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n"


def by_ice(where: str, lines: str = "", names: str = NAMES, mux: bool = True, candidate: bool = True) -> bytes:
    text = "m=audio 4000 RTP/AVP 0\r\n" + ("a=rtcp-mux\r\n" if mux else "") + names + lines
    if candidate:
        text += f"a=candidate:1 1 UDP 2130706431 {where} 4000 typ host\r\n"
    return sdp(where, text)


def plain(where: str, mux: bool = True) -> bytes:
    return sdp(where, "m=audio 4000 RTP/AVP 0\r\n" + ("a=rtcp-mux\r\n" if mux else ""))


def attribute(body: bytes, name: str) -> list[str]:
    return [line.partition(":")[2] for line in body.decode().splitlines() if line.startswith(f"a={name}")]


def call(world: World, a: bytes, b: bytes, here: Facing = LITE, there: Facing = REMOVED) -> tuple[bytes, bytes]:
    to_bob = world.sessions.offer("call", "a", a, ALICE, 0.0, toward=BOB, here=here, there=there)
    return to_bob, world.sessions.answer("call", "b", b, BOB, 0.0)


def flow(world: World, leg: str, kind: str = "rtp"):  # type: ignore[no-untyped-def]
    return next(each for each in world.sessions.query("call") if each.leg == leg and each.kind == kind)


def select(world: World, local: tuple[str, int], remote: tuple[str, int] | None, state: str = "selected") -> None:
    assert world.sessions.paired(local, IcePair(state, remote)) == "call"  # type: ignore[arg-type]


def test_a_leg_that_speaks_it_is_answered_and_the_other_hears_nothing_of_it(world: World) -> None:
    to_bob, to_alice = call(world, by_ice(ALICE), plain(BOB))
    assert not attribute(to_bob, "ice") + attribute(to_bob, "candidate")
    port = rtp_port(to_alice)
    assert b"a=ice-lite\r\n" in to_alice
    assert len(attribute(to_alice, "ice-ufrag")[0]) == 8
    assert attribute(to_alice, "candidate") == [f"c0000201h 1 UDP 2130706431 {RELAY_A} {port} typ host"]


def test_nothing_passes_before_a_pair_is_selected_and_then_by_the_kernel(world: World) -> None:
    _, to_alice = call(world, by_ice(ALICE), plain(BOB))
    local = (RELAY_A, rtp_port(to_alice))
    one, other = flow(world, "a"), flow(world, "b")
    assert {(each.path, each.reason) for each in (one, other)} == {("engine", "ICE has selected no pair yet")}
    assert (one.state, one.ice, other.ice) == ("checking", "checking", "off")
    assert world.table.rule(world.table.index(*local)).action == FlowAction.ENGINE
    agent = world.engine.flows[local].ice
    assert (agent.role, agent.peer_name, agent.candidates[0].address) == ("lite", "abcd", ALICE)
    select(world, local, PHONE)
    one, other = flow(world, "a"), flow(world, "b")
    assert (one.path, one.source, one.state, one.ice) == ("kernel", PHONE, "pinned", "selected")
    assert (other.path, other.target) == ("kernel", PHONE)
    rule = world.table.rule(world.table.index(*local))
    assert (rule.action, rule.state, rule.source, rule.stun) == (FlowAction.FORWARD, FlowState.PINNED, PHONE, True)
    assert not world.table.rule(world.table.index(*other.local)).stun
    assert local in world.engine.flows, "whoever carries the media, the engine answers the checks"
    assert world.engine.flows[local].ice.selected == PHONE


def test_another_pair_moves_the_flows_and_a_lost_one_stops_them(world: World) -> None:
    _, to_alice = call(world, by_ice(ALICE), plain(BOB))
    local = (RELAY_A, rtp_port(to_alice))
    select(world, local, PHONE)
    select(world, local, MOVED)
    assert (flow(world, "a").source, flow(world, "b").target) == (MOVED, MOVED)
    assert world.table.rule(world.table.index(*local)).previous_source == PHONE, "heard until the new one is"
    select(world, local, None, "lost")
    one = flow(world, "a")
    assert (one.path, one.reason, one.ice) == ("engine", "ICE: the peer consents no more", "lost")
    assert world.engine.flows[local].afresh


def test_both_legs_may_speak_it(world: World) -> None:
    to_bob, to_alice = call(world, by_ice(ALICE, mux=False), by_ice(BOB, mux=False), FULL, LITE)
    assert len(attribute(to_bob, "candidate")) == len(attribute(to_alice, "candidate")) == 2
    assert (b"a=ice-lite" in to_bob, b"a=ice-lite" in to_alice) == (True, False)
    near, far = rtp_port(to_alice), rtp_port(to_bob)
    roles = {local: each.ice.role for local, each in world.engine.flows.items()}
    assert roles == {
        (RELAY_A, near): "controlled",
        (RELAY_A, near + 1): "controlled",
        (RELAY_B, far): "lite",
        (RELAY_B, far + 1): "lite",
    }
    select(world, (RELAY_A, near), PHONE)
    assert flow(world, "a").path == "engine", "the other leg has no pair yet"
    select(world, (RELAY_B, far), MOVED)
    assert (flow(world, "a").path, flow(world, "a").target, flow(world, "b").source) == ("kernel", MOVED, MOVED)
    assert flow(world, "a", "rtcp").path == "engine"


def test_an_answer_without_it_falls_back_to_addresses(world: World) -> None:
    to_bob, _ = call(world, plain(ALICE), plain(BOB), there=FULL)
    assert attribute(to_bob, "candidate")
    assert (flow(world, "a").path, flow(world, "b").ice) == ("kernel", "off")
    assert not world.engine.flows


def test_two_lite_sides_go_by_the_descriptions(world: World) -> None:
    to_bob, _ = call(world, plain(ALICE), by_ice(BOB, "a=ice-lite\r\n"), there=LITE)
    assert b"a=ice-lite" in to_bob
    assert (flow(world, "b").path, flow(world, "b").source) == ("kernel", (BOB, 4000))


def test_toward_a_lite_offerer_we_are_full_and_lead(world: World) -> None:
    _, to_alice = call(world, by_ice(ALICE, "a=ice-lite\r\n"), plain(BOB))
    assert b"ice-lite" not in to_alice
    assert world.engine.flows[(RELAY_A, rtp_port(to_alice))].ice.role == "controlling"


def test_an_address_that_has_yet_to_trickle_in_is_no_hold(world: World) -> None:
    offer = by_ice("0.0.0.0", "a=ice-options:trickle\r\n", candidate=False).replace(b"audio 4000", b"audio 9")
    to_bob, to_alice = call(world, offer, plain(BOB))
    assert address(to_bob) == RELAY_B, "nothing that would say hold to the other side"
    assert not world.engine.flows[(RELAY_A, rtp_port(to_alice))].ice.complete
    assert flow(world, "a").state == "checking"


def test_candidates_that_media_must_not_go_to_are_not_tried(world: World) -> None:
    lines = "".join(
        f"a=candidate:1 1 UDP 5 {where} 4000 typ host\r\n"
        for where in ("127.0.0.1", RELAY_B, "224.0.0.1", "169.254.0.9")
    )
    _, to_alice = call(world, by_ice(ALICE, lines), plain(BOB))
    agent = world.engine.flows[(RELAY_A, rtp_port(to_alice))].ice
    assert [each.address for each in agent.candidates] == [ALICE]


def test_a_default_address_that_is_no_good_matters_only_without_it(world: World) -> None:
    offer = by_ice("127.0.0.1")
    call(world, offer, plain(BOB))
    with pytest.raises(MediaRefused, match=r"127\.0\.0\.1"):
        world.sessions.offer("other", "a", offer, ALICE, 0.0, toward=BOB)
    with pytest.raises(MediaRefused, match=r"127\.0\.0\.1"):
        world.sessions.answer("call", "b", plain(BOB), BOB, 0.0, ice="remove")


def test_held_calls_are_blocked_in_the_kernel_so_that_checks_go_on(world: World) -> None:
    _, to_alice = call(world, by_ice(ALICE), plain(BOB))
    local = (RELAY_A, rtp_port(to_alice))
    select(world, local, PHONE)
    call(world, by_ice(ALICE, "a=inactive\r\n"), plain(BOB))
    rule = world.table.rule(world.table.index(*local))
    assert (rule.state, rule.action, rule.stun) == (FlowState.PINNED, FlowAction.DROP, True)
    assert (flow(world, "a").state, flow(world, "a").source) == ("held", PHONE)
    call(world, by_ice(ALICE), plain(BOB))
    assert world.table.rule(world.table.index(*local)).action == FlowAction.FORWARD


def test_names_stay_in_a_re_invite_and_change_with_a_restart(world: World) -> None:
    _, first = call(world, by_ice(ALICE), plain(BOB))
    local = (RELAY_A, rtp_port(first))
    select(world, local, PHONE)
    _, again = call(world, by_ice(ALICE), plain(BOB))
    assert attribute(again, "ice-pwd") == attribute(first, "ice-pwd")
    _, restarted = call(world, by_ice(ALICE, names=NAMES.replace("abcd", "efgh")), plain(BOB))
    assert attribute(restarted, "ice-pwd") != attribute(first, "ice-pwd")
    assert world.engine.flows[local].ice.peer_name == "efgh"
    assert flow(world, "a").source == PHONE, "until the restart has found another"


def test_without_it_again_the_engine_closes_its_sockets(world: World) -> None:
    _, to_alice = call(world, by_ice(ALICE), plain(BOB))
    select(world, (RELAY_A, rtp_port(to_alice)), PHONE)
    call(world, plain(ALICE), plain(BOB))
    assert not world.engine.flows
    assert (flow(world, "a").source, flow(world, "a").path) == ((ALICE, 4000), "kernel")
    _, again = call(world, by_ice(ALICE), plain(BOB))
    assert flow(world, "a").state == "checking", "a pair of before counts for nothing"
    select(world, (RELAY_A, rtp_port(again)), PHONE)
    world.sessions.delete("call", 0.0)
    assert not world.engine.flows
    assert not world.programmer.speaks_ice


def test_a_killed_controller_finds_the_pair_that_the_engine_has(world: World) -> None:
    _, to_alice = call(world, by_ice(ALICE), plain(BOB))
    local = (RELAY_A, rtp_port(to_alice))
    select(world, local, PHONE)
    state = json.loads(json.dumps(world.sessions.snapshot("call")))
    world.engine.pairs[local] = ("selected", MOVED)
    world.restart()
    assert world.sessions.restore("call", state) == 1
    assert (flow(world, "a").source, flow(world, "a").path) == (MOVED, "kernel")
    world.engine.pairs[local] = ("selected", PHONE)
    world.restart()
    assert world.sessions.restore("call", state) == 1
    assert flow(world, "a").source == PHONE


def test_a_new_engine_is_told_the_pair_of_the_one_that_died(world: World) -> None:
    _, to_alice = call(world, by_ice(ALICE), plain(BOB))
    local = (RELAY_A, rtp_port(to_alice))
    select(world, local, PHONE)
    world.engine.flows.clear()
    world.programmer.engine_restarted()
    assert world.engine.flows[local].ice.selected == PHONE


def test_news_of_flows_that_are_none_are_nobodys(world: World) -> None:
    call(world, plain(ALICE), plain(BOB))
    assert world.sessions.paired((RELAY_A, 21000), IcePair("selected", PHONE)) is None
    assert world.sessions.paired(flow(world, "a").local, IcePair("selected", PHONE)) is None
    assert flow(world, "a").source == (ALICE, 4000)


def test_where_xdp_is_not_the_engine_carries_the_pair(world: World) -> None:
    world.sessions.data_plane = replace(world.plane, attached=frozenset({"eth0"}))
    _, to_alice = call(world, by_ice(ALICE), plain(BOB))
    select(world, (RELAY_A, rtp_port(to_alice)), PHONE)
    assert (flow(world, "a").path, flow(world, "a").reason) == ("engine", "XDP is not attached to eth1")


def test_candidates_that_come_later_reach_the_engine(world: World) -> None:
    offer = by_ice("0.0.0.0", "a=ice-options:trickle\r\n", candidate=False).replace(b"audio 4000", b"audio 9")
    fragment = b"a=ice-ufrag:abcd\r\nm=audio 9 RTP/AVP 0\r\na=candidate:1 1 UDP 9 203.0.113.5 40000 typ host\r\n"
    with pytest.raises(MediaRefused, match="not described itself"):
        world.sessions.trickle("call", "a", fragment)
    world.sessions.offer("call", "a", offer, ALICE, 0.0, toward=BOB, here=FULL, there=REMOVED)
    world.sessions.trickle("call", "a", fragment)
    with pytest.raises(MediaRefused, match="not described itself"):
        world.sessions.trickle("call", "b", fragment)
    to_alice = world.sessions.answer("call", "b", plain(BOB), BOB, 0.0)
    assert attribute(to_alice, "ice-options") == ["trickle"]
    local = (RELAY_A, rtp_port(to_alice))
    assert [each.port for each in world.engine.flows[local].ice.candidates] == [40000]
    world.sessions.trickle("call", "a", fragment.replace(b"40000", b"40001") + b"a=end-of-candidates\r\n")
    agent = world.engine.flows[local].ice
    assert ([each.port for each in agent.candidates], agent.complete) == ([40000, 40001], True)


def test_what_we_answer_a_browser_is_beside_rtp_and_so_are_its_candidates(world: World) -> None:
    to_bob = world.sessions.offer(
        "call", "a", by_ice(ALICE), ALICE, 0.0, toward=BOB, here=LITE, there=LITE, terms=beside(True, True)
    )
    assert len(attribute(to_bob, "candidate")) == 2, "for those who cannot have one port for both"
    to_alice = world.sessions.answer("call", "b", by_ice(BOB, mux=False), BOB, 0.0)
    assert len(attribute(to_alice, "candidate")) == 1
    near, far = (RELAY_A, rtp_port(to_alice)), (RELAY_B, rtp_port(to_bob))
    for local, remote in ((near, PHONE), (far, MOVED), ((far[0], far[1] + 1), ("203.0.113.99", 41001))):
        select(world, local, remote)
    assert {(each.leg, each.kind): each.target for each in world.sessions.query("call")} == {
        ("a", "rtp"): MOVED,
        ("b", "rtp"): PHONE,
        ("a", "rtcp"): ("203.0.113.99", 41001),
        ("b", "rtcp"): PHONE,
    }
    assert {each.path for each in world.sessions.query("call")} == {"kernel"}
    assert world.engine.flows[(near[0], near[1] + 1)].ice is None, "no component that could be checked"
