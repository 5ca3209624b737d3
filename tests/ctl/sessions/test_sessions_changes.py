# SPDX-License-Identifier: GPL-3.0-or-later
"""A call that changes while it lasts: hold, codecs, streams, and offers that come to nothing."""

import pytest

from ctl.sessions.media_sessions import MediaRefused
from tests.ctl.world import ALICE, AUDIO, BOB, RELAY_A, RELAY_B, VIDEO, World, address, rtp_port, sdp


def test_hold_and_resume_keep_ports_and_touch_only_rtp(world: World) -> None:
    first = world.call()
    world.table.writes.clear()
    again = world.call(a=sdp(ALICE, AUDIO + "a=sendonly\r\n"), b=sdp(BOB, AUDIO + "a=recvonly\r\n"))
    assert tuple(map(rtp_port, again)) == tuple(map(rtp_port, first))
    states = {(flow.leg, flow.kind): flow.state for flow in world.sessions.query("call")}
    assert states == {("a", "rtp"): "pinned", ("b", "rtp"): "held", ("a", "rtcp"): "pinned", ("b", "rtcp"): "pinned"}
    assert (world.table.writes, world.table.offs) == ([], [(RELAY_B, rtp_port(first[0]))])
    world.call()
    assert {flow.state for flow in world.sessions.query("call")} == {"pinned"}
    assert [fresh for _, fresh in world.table.writes] == [False, False]


def test_hold_by_address_is_passed_on_and_nothing_is_sent_there(world: World) -> None:
    world.call()
    to_bob, _ = world.call(a=sdp("0.0.0.0"))
    assert b"c=IN IP4 0.0.0.0\r\n" in to_bob
    assert b"o=- 1 1 IN IP4 198.51.100.1\r\n" in to_bob
    assert {flow.state for flow in world.sessions.query("call")} == {"held"}
    world.call()
    assert {flow.state for flow in world.sessions.query("call")} == {"pinned"}


@pytest.mark.parametrize(
    ("alice", "bob", "held"),
    [
        (sdp(ALICE), sdp(BOB), False),
        (sdp(ALICE, AUDIO + "a=sendonly\r\n"), sdp(BOB, AUDIO + "a=recvonly\r\n"), True),
        (sdp(ALICE, AUDIO + "a=sendonly\r\n"), sdp(BOB, AUDIO + "a=inactive\r\n"), True),
        (sdp(ALICE, AUDIO + "a=inactive\r\n"), sdp(BOB, AUDIO + "a=inactive\r\n"), True),
        (sdp("0.0.0.0"), sdp(BOB), True),
        (sdp(ALICE, AUDIO + "a=inactive\r\n", VIDEO), sdp(BOB, AUDIO + "a=inactive\r\n", VIDEO), False),
    ],
)
def test_a_call_is_held_once_no_stream_flows_both_ways(world: World, alice: bytes, bob: bytes, held: bool) -> None:
    world.call(a=alice, b=bob)
    assert world.programmer.held() == ({"call"} if held else set())
    state = world.sessions.snapshot("call")
    world.restart()
    world.sessions.restore("call", state)
    assert world.programmer.held() == ({"call"} if held else set())


def test_a_change_of_codec_or_address_changes_the_flows_in_place(world: World) -> None:
    _, to_alice = world.call()
    world.call(a=sdp("192.0.2.99", "m=audio 6000 RTP/AVP 97\r\na=rtpmap:97 opus/48000/2\r\n"))
    rule = world.table.at((RELAY_A, rtp_port(to_alice)))
    assert rule.source == ("192.0.2.99", 6000)
    assert [flow.local[1] for flow in world.sessions.query("call")][:1] == [rtp_port(to_alice)]


def test_the_same_again_writes_nothing(world: World) -> None:
    world.call()
    world.table.writes.clear()
    world.call()
    assert world.table.writes == []


def test_a_failed_offer_leaves_the_old_flows_alone(world: World) -> None:
    world.call()
    before, rules = world.sessions.snapshot("call")["proposed"], dict(world.table.rules)
    world.table.writes.clear()
    world.sessions.offer("call", "a", sdp("192.0.2.99", AUDIO, VIDEO), ALICE, 1.0, toward=BOB)
    assert world.taken() == (2, 2)
    world.sessions.rollback("call", 2.0)
    assert (world.table.writes, world.table.rules, world.taken()) == ([], rules, (1, 1))
    assert world.sessions.snapshot("call")["agreed"] == before
    assert world.ports.free(RELAY_A, 61.9) == 98
    assert world.ports.free(RELAY_A, 62.0) == 99


def test_an_early_answer_that_comes_to_nothing_is_undone(world: World) -> None:
    world.call()
    rules = dict(world.table.rules)
    world.call(a=sdp("192.0.2.99"))
    world.sessions.rollback("call", 1.0)
    assert world.table.rules == rules
    world.sessions.rollback("call", 1.0)
    world.sessions.rollback("unknown", 1.0)


def test_an_offer_can_be_answered_twice_early_and_finally(world: World) -> None:
    to_bob, early = world.call(b=sdp("198.51.100.77"))
    final = world.sessions.answer("call", "b", sdp(BOB), BOB, 1.0)
    assert rtp_port(early) == rtp_port(final)
    assert world.table.at((RELAY_A, rtp_port(final))).target == (BOB, 4000)
    assert world.table.at((RELAY_B, rtp_port(to_bob))).source == (BOB, 4000)


def test_an_offer_that_replaces_an_unanswered_one_leaks_no_port(world: World) -> None:
    for _ in range(5):
        world.sessions.offer("call", "a", sdp(ALICE, AUDIO, VIDEO), ALICE, 0.0, toward=BOB)
    assert world.taken() == (2, 2)


def test_the_next_target_may_be_behind_another_relay_address(world: World) -> None:
    world.sessions.offer("call", "a", sdp(ALICE), ALICE, 0.0, toward="192.0.2.50")
    to_bob = world.sessions.offer("call", "a", sdp(ALICE), ALICE, 0.0, toward=BOB)
    assert (address(to_bob), world.taken()) == (RELAY_B, (1, 1))


def test_a_stream_that_ends_gives_its_ports_back_with_the_next_offer(world: World) -> None:
    world.call(a=sdp(ALICE, AUDIO, VIDEO), b=sdp(BOB, AUDIO, VIDEO))
    gone = "m=video 0 RTP/AVP 96\r\n"
    world.call(a=sdp(ALICE, AUDIO, gone), b=sdp(BOB, AUDIO, gone))
    assert {flow.stream for flow in world.sessions.query("call")} == {0}
    world.call(a=sdp(ALICE, AUDIO, gone), b=sdp(BOB, AUDIO, gone))
    assert world.taken() == (1, 1)
    world.call(a=sdp(ALICE, AUDIO, VIDEO), b=sdp(BOB, AUDIO, VIDEO))
    assert {flow.stream for flow in world.sessions.query("call")} == {0, 1}


def test_m_lines_never_become_fewer(world: World) -> None:
    world.call(a=sdp(ALICE, AUDIO, VIDEO), b=sdp(BOB, AUDIO, VIDEO))
    with pytest.raises(MediaRefused, match="the offer has 1 m-lines where there were 2"):
        world.call()


def test_a_refused_change_leaves_the_call_as_it_was(world: World) -> None:
    world.call()
    world.table.writes.clear()
    with pytest.raises(MediaRefused):
        world.call(a=sdp(ALICE, AUDIO.replace("AVP", "SAVP")))
    assert (world.table.writes, world.taken()) == ([], (1, 1))
    assert {flow.state for flow in world.sessions.query("call")} == {"pinned"}
