# SPDX-License-Identifier: GPL-3.0-or-later
"""Payload types that differ from leg to leg, and telephone events beside codecs of each clock rate."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ctl.sessions.descriptions import Description
from tests.ctl.world import ALICE, BOB, PLANE, World, m_lines, sdp

EVERY = ("PCMU", "PCMA", "G722", "G729", "opus")


def audio(formats: str, *maps: str) -> str:
    lines = (f"a=rtpmap:{each}\r\n" for each in maps)
    return f"m=audio 4000 RTP/AVP {formats}\r\n{''.join(lines)}"


ALICES = audio("96 101", "96 opus/48000/2", "101 telephone-event/48000")
BOBS = audio("111 97", "111 opus/48000/2", "97 telephone-event/48000")


@pytest.fixture
def engine_world(world: World) -> World:
    world.plane = replace(PLANE, transcode=EVERY)
    world.restart()
    return world


def rtp(world: World):
    """The plans of both directions, that of what alice sends first."""
    return sorted((each for each in world.programmer.rtp_of("call")), key=lambda each: each.leg)


def stream(description: str):
    (found,) = Description(sdp(ALICE, description)).streams(ALICE)
    return found


def test_numbers_of_each_leg_reach_the_other_which_sends_by_them(world: World) -> None:
    """Packets pass as they are, so each side is to send what the other one wants (RFC 3264 §5.1, §6.1)."""
    to_bob, to_alice = world.call(a=sdp(ALICE, ALICES), b=sdp(BOB, BOBS))
    assert m_lines(to_bob)[0].split()[3:] == [b"96", b"101"]
    assert m_lines(to_alice)[0].split()[3:] == [b"111", b"97"]
    from_alice, from_bob = rtp(world)
    assert {from_alice.path, from_bob.path} == {"kernel"}
    assert [each.payload_type for each in (*from_alice.codecs, *from_bob.codecs)] == [111, 96]
    assert (from_alice.dtmf_type, from_bob.dtmf_type) == (97, 101)


@pytest.mark.parametrize(("codec", "number"), [("0 PCMU/8000", 101), ("98 speex/16000", 102), ("96 opus/48000/2", 103)])
def test_events_go_with_the_codec_of_their_rate(world: World, codec: str, number: int) -> None:
    rates = [f"{101 + place} telephone-event/{rate}" for place, rate in enumerate((8000, 16000, 48000))]
    description = audio(f"{codec.split()[0]} 101 102 103", codec, *rates)
    assert stream(description).events == {8000: 101, 16000: 102, 48000: 103}
    _, to_alice = world.call(a=sdp(ALICE, description), b=sdp(BOB, description))
    assert to_alice.count(b"telephone-event") == 3
    assert {each.dtmf_type for each in rtp(world)} == {number}


def test_events_of_another_rate_are_better_than_none():
    only = stream(audio("96 101", "96 opus/48000/2", "101 telephone-event/8000"))
    assert (only.event_type(48000), only.event_type(8000)) == (101, 101)
    assert stream(audio("0")).event_type(8000) is None


def test_events_are_offered_at_the_rate_of_each_codec_that_is_added(engine_world: World) -> None:
    offer = sdp(ALICE, audio("96 101", "96 opus/48000/2", "101 telephone-event/48000"))
    to_bob = engine_world.sessions.offer("call", "a", offer, ALICE, 0.0, toward=BOB)
    assert b"a=rtpmap:97 telephone-event/8000\r\n" in to_bob
    without = engine_world.sessions.offer("other", "a", sdp(ALICE, audio("0")), ALICE, 0.0, toward=BOB)
    assert b"telephone-event" not in without


def test_each_leg_keeps_its_own_rate_of_events_where_the_engine_is_between(engine_world: World) -> None:
    bob = audio("0 97", "97 telephone-event/8000")
    _, to_alice = engine_world.call(a=sdp(ALICE, ALICES), b=sdp(BOB, bob))
    assert m_lines(to_alice)[0].split()[3:] == [b"96", b"101"]
    assert b"a=rtpmap:101 telephone-event/48000\r\n" in to_alice
    through = rtp(engine_world)[0].transcoding
    assert (through.heard.events, through.sent.events) == (101, 97)


def test_what_was_added_to_the_offer_is_not_answered(engine_world: World) -> None:
    bob = audio("96 101 97", "96 opus/48000/2", "101 telephone-event/48000", "97 telephone-event/8000")
    _, to_alice = engine_world.call(a=sdp(ALICE, ALICES), b=sdp(BOB, bob))
    assert m_lines(to_alice)[0].split()[3:] == [b"96", b"101"]
    assert {each.path for each in rtp(engine_world)} == {"kernel"}


def test_an_answerer_with_numbers_of_its_own_is_heard_by_those_it_was_offered(engine_world: World) -> None:
    """Bob is offered opus as 96 and events as 97; he wants them as 111 and 110, and sends what he was offered."""
    alice = audio("0 101", "101 telephone-event/8000")
    bob = audio("111 110", "111 opus/48000/2", "110 telephone-event/48000")
    to_bob, _ = engine_world.call(a=sdp(ALICE, alice), b=sdp(BOB, bob))
    assert b"a=rtpmap:96 opus/48000/2" in to_bob
    for _ in range(2):
        to_him, from_him = (each.transcoding for each in rtp(engine_world))
        assert (to_him.sent.payload_type, to_him.sent.events) == (111, 110)
        assert (from_him.heard.payload_type, from_him.heard.events) == (96, 97)
        assert (to_him.heard.payload_type, from_him.sent.payload_type) == (0, 0)
        state = engine_world.sessions.snapshot("call")
        engine_world.restart()
        assert engine_world.sessions.restore("call", state) == 0
