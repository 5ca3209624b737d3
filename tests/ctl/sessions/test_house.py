# SPDX-License-Identifier: GPL-3.0-or-later
"""Media of calls whose one peer is ourselves, and how somebody else takes our place."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ctl.sessions.media_sessions import MediaRefused
from sip.offer_answer import same_media
from tests.ctl.world import ALICE, AUDIO, BOB, PLANE, RELAY_A, RELAY_B, VIDEO, World, address, m_lines, rtp_port, sdp

BOTH = "m=audio 4000 RTP/AVP 96 9 0 101\r\na=rtpmap:96 speex/8000\r\na=rtpmap:101 telephone-event/8000\r\n"


def test_an_offer_is_answered_in_one_codec_that_we_can_play(world: World) -> None:
    said = world.sessions.attend("call", "a", sdp(ALICE, BOTH, VIDEO), ALICE, 0.0)
    audio, video = m_lines(said)
    assert audio.split()[3:] == [b"9", b"101"]
    assert video.startswith(b"m=video 0 ")
    assert address(said) == RELAY_A
    rtp = {view.leg: view for view in world.sessions.query("call") if view.kind == "rtp"}
    assert {view.path for view in rtp.values()} == {"engine"}
    assert {view.reason for view in rtp.values()} == {"answered by ourselves"}
    assert rtp["a"].target[1] == 0, "what she says goes nowhere"
    assert rtp["b"].target == (ALICE, 4000)


@pytest.mark.parametrize("toward", [ALICE, BOB])
def test_who_takes_our_place_is_sent_to_the_ports_that_the_caller_knows(world: World, toward: str) -> None:
    said = world.sessions.attend("call", "a", sdp(ALICE), ALICE, 0.0)
    offer = world.sessions.offer("call", "a", sdp(ALICE), ALICE, 1.0, toward=toward)
    assert address(offer) == (RELAY_A if toward == ALICE else RELAY_B), "our address that faces the new peer"
    assert {view.reason for view in world.sessions.query("call")} == {"answered by ourselves"}, "until it answers"
    answer = world.sessions.answer("call", "b", sdp(toward, AUDIO.replace("4000", "6000")), toward, 2.0)
    assert same_media(answer, said)
    flows = world.sessions.query("call")
    assert {view.path for view in flows} == {"kernel"}
    assert {view.target for view in flows if view.leg == "a" and view.kind == "rtp"} == {(toward, 6000)}
    world.sessions.delete("call", 3.0)
    assert world.taken() == (0, 0)


def test_who_does_not_come_leaves_us_in_our_place(world: World) -> None:
    world.sessions.attend("call", "a", sdp(ALICE), ALICE, 0.0)
    before = world.sessions.query("call")
    world.sessions.offer("call", "a", sdp(ALICE), ALICE, 1.0, toward=BOB)
    world.sessions.rollback("call", 2.0)
    assert world.sessions.query("call") == before
    world.sessions.attend("call", "a", sdp(ALICE, AUDIO.replace("4000", "4444")), ALICE, 3.0)
    assert {view.target for view in world.sessions.query("call") if view.kind == "rtp" and view.leg == "b"} == {
        (ALICE, 4444)
    }
    world.sessions.delete("call", 4.0)
    assert world.taken() == (0, 0)


def test_a_leg_without_an_offer_gets_ours(world: World) -> None:
    offer = world.sessions.attend("call", "a", b"", ALICE, 0.0)
    assert m_lines(offer)[0].split()[3:] == [b"8", b"0", b"9", b"101"]
    assert rtp_port(offer) >= 20000
    world.sessions.answer("call", "a", sdp(ALICE), ALICE, 1.0)
    rtp = {view.leg: view for view in world.sessions.query("call") if view.kind == "rtp"}
    assert rtp["b"].target == (ALICE, 4000)
    assert rtp["b"].reason == "answered by ourselves"


def test_an_offer_without_audio_of_ours_is_refused_and_leaves_nothing(world: World) -> None:
    for media in (VIDEO, "m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 speex/8000\r\n"):
        with pytest.raises(MediaRefused, match="no audio in PCMU"):
            world.sessions.attend("call", "a", sdp(ALICE, media), ALICE, 0.0)
        world.sessions.delete("call", 0.0)
        assert world.taken() == (0, 0)


def test_srtp_ends_at_the_engine_and_may_be_required(world: World) -> None:
    key = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n"
    world.sessions.data_plane = replace(PLANE, srtp="required")
    offer = AUDIO.replace("RTP/AVP", "RTP/SAVP") + key
    said = world.sessions.attend("call", "a", sdp(ALICE, offer), ALICE, 0.0)
    assert b"RTP/SAVP" in said
    assert b"a=crypto:1 " in said
    with pytest.raises(MediaRefused):
        world.sessions.attend("other", "a", sdp(ALICE), ALICE, 0.0)


def test_a_restarted_controller_knows_its_own_calls_again(world: World) -> None:
    world.sessions.attend("call", "a", sdp(ALICE), ALICE, 0.0)
    state, flows = world.sessions.snapshot("call"), world.sessions.query("call")
    world.restart()
    world.sessions.restore("call", state)
    assert [(view.leg, view.target, view.path) for view in world.sessions.query("call")] == [
        (view.leg, view.target, view.path) for view in flows
    ]
