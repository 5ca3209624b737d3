# SPDX-License-Identifier: GPL-3.0-or-later
"""Descriptions in the course of a call: o= of each dialog is ours and counts changes; m-lines stay for ever."""

from __future__ import annotations

import pytest

from sip.call_table import CallState
from sip.effects import Address
from sip.sdp import SessionDescription
from tests.sip.talk import settle

AUDIO, VIDEO, NO_VIDEO = "audio 40000 RTP/AVP 8", "video 40002 RTP/AVP 96", "video 0 RTP/AVP 96"


def described(version: int, *media: str, more: str = "") -> bytes:
    lines = ["v=0", f"o=somebody 7 {version} IN IP4 192.0.2.7", "s=-", "c=IN IP4 192.0.2.7", "t=0 0"]
    return "".join(f"{line}\r\n" for line in [*lines, *(f"m={each}" for each in media)]).encode() + more.encode()


def origin(body: bytes) -> tuple[str, str, int]:
    found = SessionDescription.parse(body).origin
    return found.username, found.session, int(found.version)


def lines(body: bytes) -> list[str]:
    return [f"{each.media} {each.port}" for each in SessionDescription.parse(body).media]


@pytest.fixture
def call(world, anna, bert):
    """Each with audio and video; what Bert got, and what Anna got."""
    invite = anna.invite("bert", described(5, AUDIO, VIDEO))
    (out,) = bert.hears("INVITE")
    bert.reply(out, 200, described(3, AUDIO, VIDEO))
    ok = anna.hears(100, 200)[1]
    bert.hears("ACK")
    anna.say(anna.beside(invite, "ACK", to=str(ok.to), branch="first"))
    return out, ok


def change(near, far, last, offer, answer, number):
    """A re-INVITE and its answer, as they reach the other side."""
    asked = near.within(last, "INVITE", sdp=offer)
    near.say(asked)
    (out,) = far.hears("INVITE")
    far.reply(out, 200, answer)
    far.hears("ACK")
    ok = near.hears(100, 200)[1]
    near.say(near.beside(asked, "ACK", to=str(ok.to), branch=f"change{number}"))
    return out, ok


def test_the_origin_of_each_dialog_is_ours_and_its_version_counts_changes_alone(world, anna, bert, call):
    (first_out, first_ok) = (origin(message.body) for message in call)
    assert first_out[0] == first_ok[0] == "-"
    assert first_out[1] != first_ok[1] != "7"
    held = "a=sendonly\r\n"
    steps = [
        (described(99, AUDIO, VIDEO), described(2, AUDIO, VIDEO), 0, 0),
        (described(100, AUDIO, VIDEO, more=held), described(2, AUDIO, VIDEO, more="a=recvonly\r\n"), 1, 1),
        (described(101, AUDIO, VIDEO, more=held), described(9, AUDIO, VIDEO, more="a=inactive\r\n"), 1, 2),
        (described(1, AUDIO, VIDEO), described(1, AUDIO, VIDEO), 2, 3),
        (described(1, AUDIO, VIDEO), described(1, AUDIO, VIDEO), 2, 3),
    ]
    for number, (offer, answer, out_changes, ok_changes) in enumerate(steps):
        out, ok = change(anna, bert, call[1], offer, answer, number)
        assert origin(out.body) == (*first_out[:2], first_out[2] + out_changes)
        assert origin(ok.body) == (*first_ok[:2], first_ok[2] + ok_changes)
    out, ok = change(bert, anna, call[0], described(1, AUDIO, NO_VIDEO), described(1, AUDIO, NO_VIDEO), "back")
    assert origin(out.body) == (*first_ok[:2], first_ok[2] + 4)
    assert origin(ok.body) == (*first_out[:2], first_out[2] + 3)
    anna.say(anna.within(call[1], "BYE"))
    settle(world, 200, 16, "a")


def test_what_is_refused_keeps_its_place_comes_back_and_more_may_follow(world, anna, bert, call):
    more = "audio 40004 RTP/AVP 0"
    for number, media in enumerate([(AUDIO, NO_VIDEO), (AUDIO, NO_VIDEO, more), (AUDIO, VIDEO, more)]):
        out, ok = change(anna, bert, call[1], described(number, *media), described(number, *media), number)
        assert lines(out.body) == lines(ok.body) == [" ".join(each.split()[:2]) for each in media]


@pytest.mark.parametrize("by", ["a", "b"])
def test_an_offer_of_fewer_media_is_refused_and_the_call_goes_on(world, anna, bert, call, by):
    near, far, last = (anna, bert, call[1]) if by == "a" else (bert, anna, call[0])
    near.say(near.within(last, "INVITE", sdp=described(9, AUDIO)))
    near.hears(100, 488)
    far.hears()
    (view,) = world.core.calls()
    assert view.state == CallState.TALKING
    near.say(near.within(last, "BYE"))
    settle(world, 200, 16, by)


@pytest.mark.parametrize("media", [(), (AUDIO,), (VIDEO, AUDIO), (AUDIO, VIDEO, VIDEO), (AUDIO, "video 1 RTP/SAVP 96")])
def test_a_callees_answer_that_is_none_ends_its_call(world, anna, bert, media):
    anna.invite("bert", described(5, AUDIO, VIDEO))
    (out,) = bert.hears("INVITE")
    bert.reply(out, 200, described(3, *media) if media else b"")
    assert [message.method for message in bert.heard()] == ["ACK", "BYE"]
    assert anna.heard()[-1].status >= 400
    world.pass_time(70)
    assert len(world.ended()) == 1
    assert world.empty()


def test_an_answer_to_a_change_that_is_none_ends_the_call_for_both(world, anna, bert, call):
    anna.say(anna.within(call[1], "INVITE", sdp=described(6, AUDIO, NO_VIDEO)))
    (out,) = bert.hears("INVITE")
    bert.reply(out, 200, described(4, AUDIO, VIDEO))
    bert.hears("ACK", "BYE")
    assert [getattr(each, "method", None) or each.status for each in anna.heard()][-1] == "BYE"
    world.pass_time(70)
    assert len(world.ended()) == 1
    assert world.empty()


def test_a_refresh_of_ours_repeats_what_was_said(world, anna):
    """RFC 4028 §7.4: nothing has changed, and so neither has the version."""
    bert = type(anna)(world, "bert", "203.0.113.9")
    assert bert.register().status == 200
    invite = anna.invite("bert", described(5, AUDIO), ("Supported", "timer"), ("Session-Expires", "1800;refresher=uac"))
    (out,) = bert.hears("INVITE")
    bert.reply(out, 200, described(3, AUDIO))
    ok = anna.hears(100, 200)[1]
    bert.hears("ACK")
    anna.say(anna.beside(invite, "ACK", to=str(ok.to), branch="first"))
    world.pass_time(901)
    (refresh,) = [each for each in world.sent(Address("203.0.113.9", 5060)) if each.cseq.method == "INVITE"][:1]
    assert refresh.body == out.body
