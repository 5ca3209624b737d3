# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens inside a call: hold, glare, refused and cancelled changes, UPDATE and INFO."""

from __future__ import annotations

import pytest

from sip.call_table import CallState
from sip.effects import Address, RevertMedia
from tests.sip.talk import ANSWER, HOLD, settle


@pytest.mark.parametrize("by", ["a", "b"])
def test_hold_passes_through(world, anna, bert, talk, by):
    near, far, last = (anna, bert, talk.ok) if by == "a" else (bert, anna, talk.out)
    change = near.within(last, "INVITE", sdp=HOLD)
    near.say(change)
    near.hears(100)
    (out,) = far.hears("INVITE")
    assert out.body == HOLD + f"a=via-{by}\r\n".encode()
    far.reply(out, 200, ANSWER)
    far.hears("ACK")
    (ok,) = near.hears(200)
    assert b"m=audio 50000" in ok.body
    near.say(near.beside(change, "ACK", to=str(ok.to), branch=f"hold-{by}"))
    assert world.core.calls()[0].state == CallState.TALKING
    world.pass_time(40)
    near.hears()
    near.say(near.within(last, "BYE"))
    settle(world, 200, 16, by)


def directed(way, port):
    """A description that holds, or does not, in one of the ways there are."""
    where = b"0.0.0.0" if way == "0.0.0.0" else b"192.0.2.7"
    line = b"" if way == "0.0.0.0" else f"a={way}\r\n".encode()
    return b"v=0\r\nc=IN IP4 %s\r\nm=audio %d RTP/AVP 8\r\n%s" % (where, port, line)


def exchange(near, far, last, offer, answer, branch):
    change = near.within(last, "INVITE", sdp=offer)
    near.say(change)
    (out,) = far.hears("INVITE")
    far.reply(out, 200, answer)
    far.hears("ACK")
    (ok,) = near.hears(100, 200)[1:]
    near.say(near.beside(change, "ACK", to=str(ok.to), branch=branch))
    return out, ok


HOLDS = ("sendonly", "inactive", "recvonly", "0.0.0.0")


@pytest.mark.parametrize("second", HOLDS)
@pytest.mark.parametrize("first", HOLDS)
def test_both_hold_and_then_each_resumes(world, anna, bert, talk, first, second):
    steps = [
        (anna, bert, talk.ok, first, "recvonly"),
        (bert, anna, talk.out, second, first),
        (anna, bert, talk.ok, "sendrecv", second),
        (bert, anna, talk.out, "sendrecv", "sendrecv"),
    ]
    for number, (near, far, last, offered, answered) in enumerate(steps):
        side = ("a", "b") if near is anna else ("b", "a")
        offer, answer = directed(offered, 40000), directed(answered, 50000)
        out, ok = exchange(near, far, last, offer, answer, f"hold{number}")
        assert out.body == offer + f"a=via-{side[0]}\r\n".encode()
        assert ok.body == answer + f"a=via-{side[1]}\r\n".encode()
        assert world.core.calls()[0].state == CallState.TALKING
    anna.say(anna.within(talk.ok, "BYE"))
    settle(world, 200, 16, "a")


def test_2xx_of_an_older_invite_is_acknowledged_too(world, anna, bert, talk):
    anna.say(anna.within(talk.ok, "INVITE", sdp=HOLD))
    (out,) = bert.hears("INVITE")
    bert.reply(out, 200, ANSWER)
    bert.hears("ACK")
    bert.reply(talk.out, 200, ANSWER)
    (ack,) = bert.hears("ACK")
    assert ack.cseq.number == talk.out.cseq.number
    bert.reply(out, 200, ANSWER)
    assert bert.hears("ACK")[0].cseq.number == out.cseq.number
    anna.say(anna.within(talk.ok, "BYE"))
    bert.hears("BYE")


def test_change_without_offer(world, anna, bert, talk):
    change = anna.within(talk.ok, "INVITE")
    anna.say(change)
    anna.hears(100)
    (out,) = bert.hears("INVITE")
    assert out.body == b""
    bert.reply(out, 200, ANSWER)
    bert.hears()
    (ok,) = anna.hears(200)
    anna.say(anna.beside(change, "ACK", to=str(ok.to), branch="change", sdp=HOLD))
    assert bert.hears("ACK")[0].body == HOLD + b"a=via-a\r\n"
    assert world.core.calls()[0].state == CallState.TALKING


@pytest.mark.parametrize(("status", "told"), [(488, 488), (491, 491), (401, 403), (500, 500)])
def test_refused_change_leaves_the_call(world, anna, bert, talk, status, told):
    anna.say(anna.within(talk.ok, "INVITE", sdp=HOLD))
    (out,) = bert.hears("INVITE")
    bert.reply(out, status)
    bert.hears("ACK")
    anna.hears(100, told)
    assert len(world.effects(RevertMedia)) == 1
    assert world.core.calls()[0].state == CallState.TALKING
    bert.say(bert.within(talk.out, "BYE"))
    anna.hears("BYE")


@pytest.mark.parametrize("status", [408, 481])
def test_change_to_a_peer_that_lost_the_call_ends_it(world, anna, bert, talk, status):
    anna.say(anna.within(talk.ok, "INVITE", sdp=HOLD))
    (out,) = bert.hears("INVITE")
    bert.reply(out, status)
    anna.hears(100, 487, "BYE")
    bert.hears("ACK", "BYE")


def test_change_that_media_refuses(world, anna, bert, talk):
    world.media = lambda effect: (488, "Not Acceptable Here")
    anna.say(anna.within(talk.ok, "INVITE", sdp=HOLD))
    anna.hears(100, 488)
    bert.hears()
    assert world.core.calls()[0].state == CallState.TALKING


def test_glare(world, anna, bert, talk):
    """Both change at once: the second hears 491, tries again, and both agree in the end."""
    for turn in range(20):
        first = anna.within(talk.ok, "INVITE", sdp=HOLD)
        anna.say(first)
        bert.say(bert.within(talk.out, "INVITE", sdp=HOLD))
        (out, refused) = bert.hears("INVITE", 491)
        assert refused.cseq.method == "INVITE"
        bert.reply(out, 491)
        anna.hears(100, 491)
        bert.hears("ACK")
        assert world.core.calls()[0].state == CallState.TALKING
        again = bert.within(talk.out, "INVITE", sdp=HOLD)
        bert.say(again)
        (out,) = anna.hears("INVITE")
        anna.reply(out, 200, ANSWER)
        _, ok = bert.hears(100, 200)
        bert.say(bert.beside(again, "ACK", to=str(ok.to), branch=f"glare{turn}"))
        anna.hears("ACK")
        assert world.core.calls()[0].state == CallState.TALKING


def test_second_change_of_the_same_peer_waits(world, anna, bert, talk):
    anna.say(anna.within(talk.ok, "INVITE", sdp=HOLD))
    anna.say(anna.within(talk.ok, "INVITE", sdp=HOLD))
    refused = anna.hears(100, 500)[1]
    assert 0 <= int(refused.get("Retry-After")) <= 10


def test_cancelled_change(world, anna, bert, talk):
    change = anna.within(talk.ok, "INVITE", sdp=HOLD)
    anna.say(change)
    (out,) = bert.hears("INVITE")
    anna.say(anna.beside(change, "CANCEL"))
    anna.hears(100, 200)
    bert.reply(out, 180)
    bert.hears("CANCEL")
    bert.reply(out, 487)
    anna.hears(480)
    assert world.core.calls()[0].state == CallState.TALKING


def test_bye_while_a_change_is_pending(world, anna, bert, talk):
    change = anna.within(talk.ok, "INVITE", sdp=HOLD)
    anna.say(change)
    (out,) = bert.hears("INVITE")
    bert.say(bert.within(talk.out, "BYE"))
    bert.hears(200)
    anna.hears(100, 487, "BYE")
    bert.reply(out, 200, ANSWER)
    bert.hears("ACK")
    settle(world, 200, 16, "b")


def test_change_never_answered_does_not_outlive_the_call(world, anna, bert, talk):
    anna.say(anna.within(talk.ok, "INVITE", sdp=HOLD))
    (out,) = bert.hears("INVITE")
    bert.reply(out, 100)
    bert.say(bert.within(talk.out, "BYE"))
    settle(world, 200, 16, "b")


def test_change_never_acknowledged_ends_the_call(world, anna, bert, talk):
    anna.say(anna.within(talk.ok, "INVITE", sdp=HOLD))
    (out,) = bert.hears("INVITE")
    bert.reply(out, 200, ANSWER)
    settle(world, 200, 102, "server")


def test_update_without_offer_refreshes_the_target(world, anna, bert, talk):
    update = anna.within(talk.ok, "UPDATE").replaced("Contact", ["<sip:anna@192.0.2.7:5099>"])
    anna.say(update)
    anna.hears(200)
    bert.hears()
    assert world.core.calls()[0].a.peer == Address("192.0.2.7", 5099)


def test_update_with_offer_becomes_a_change(world, anna, bert, talk):
    anna.say(anna.within(talk.ok, "UPDATE", sdp=HOLD))
    (out,) = bert.hears("INVITE")
    bert.reply(out, 200, ANSWER)
    bert.hears("ACK")
    (ok,) = anna.hears(200)
    assert ok.body == ANSWER + b"a=via-b\r\n"
    assert world.core.calls()[0].state == CallState.TALKING
    world.pass_time(40)
    assert not world.ended()
