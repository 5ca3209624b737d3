# SPDX-License-Identifier: GPL-3.0-or-later
"""Reliable provisional responses (RFC 3262) on both legs, each by itself, with descriptions in any of them."""

from __future__ import annotations

import pytest

from sip.call_table import CallState
from sip.effects import AnswerMedia, OfferMedia
from tests.sip.talk import ANSWER, HOLD, settle

ABLE = ("Supported", "100rel")
NEEDS = ("Require", "100rel")


def rseq(number: int):
    return ("Require", "100rel"), ("RSeq", str(number))


def prack(peer, invite, response, sdp=b"", number=None):
    """The PRACK of a response that `peer` received."""
    value = f"{number or response.rseq} {invite.cseq}"
    return peer.within(response, "PRACK", ("RAck", value), sdp=sdp)


def ringing(world, anna, bert, sdp=HOLD, *extra):
    invite = anna.invite("bert", sdp, *extra)
    (out,) = bert.hears("INVITE")
    anna.hears(100)
    return invite, out


def test_callee_gets_its_prack(world, anna, bert):
    _, out = ringing(world, anna, bert)
    assert "100rel" in out.supported
    bert.reply(out, 183, ANSWER, *rseq(5))
    (ack,) = bert.hears("PRACK")
    assert (ack.get("RAck"), ack.cseq.number, ack.to.tag) == (f"5 {out.cseq}", out.cseq.number + 1, "bert-tag")
    bert.reply(ack, 200)
    bert.reply(out, 183, ANSWER, *rseq(5))
    bert.hears()
    bert.reply(out, 180, b"", *rseq(6))
    assert bert.hears("PRACK")[0].get("RAck") == f"6 {out.cseq}"
    bert.reply(out, 180, b"", *rseq(9))
    bert.hears()
    first, ring = anna.hears(183, 180)
    assert first.body == ANSWER + b"a=via-b\r\n"
    assert not first.require
    assert not ring.require


def test_cseq_goes_on_from_the_early_dialog(world, anna, bert):
    invite, out = ringing(world, anna, bert)
    bert.reply(out, 183, ANSWER, *rseq(5))
    bert.hears("PRACK")
    bert.reply(out, 200, ANSWER)
    bert.hears("ACK")
    ok = anna.hears(183, 200)[1]
    anna.say(anna.beside(invite, "ACK", to=str(ok.to), branch="x"))
    anna.say(anna.within(ok, "BYE"))
    assert bert.hears("BYE")[0].cseq.number == out.cseq.number + 2


def test_caller_that_can_gets_early_media_reliably(world, anna, bert):
    invite, out = ringing(world, anna, bert, HOLD, ABLE)
    bert.reply(out, 180)
    (plain,) = anna.hears(180)
    assert not plain.require
    since = world.now
    bert.reply(out, 183, ANSWER)
    world.pass_time(4)
    times = [at for at, line in world.schedule(since) if line.startswith("SIP/2.0 183")]
    assert times == [0, 0.5, 1.5, 3.5]
    early = anna.heard()[0]
    assert "100rel" in early.require
    assert 0 < early.rseq < 2**31
    anna.say(prack(anna, invite, early))
    anna.hears(200)
    world.pass_time(10)
    anna.hears()
    bert.reply(out, 200, ANSWER)
    (ok,) = anna.hears(200)
    assert (ok.body, ok.to.tag) == (b"", early.to.tag)
    anna.say(anna.beside(invite, "ACK", to=str(ok.to), branch="x"))
    assert world.core.calls()[0].state == CallState.TALKING


def test_caller_that_insists_gets_each_one_in_order(world, anna, bert):
    invite, out = ringing(world, anna, bert, HOLD, NEEDS)
    bert.reply(out, 180)
    bert.reply(out, 183, ANSWER)
    (first,) = anna.hears(180)
    anna.say(prack(anna, invite, first))
    acknowledged, second = sorted(anna.heard(), key=lambda message: -message.status)
    assert (acknowledged.status, second.status, second.rseq) == (200, 183, first.rseq + 1)


def test_2xx_waits_for_the_prack_of_a_description(world, anna, bert):
    invite, out = ringing(world, anna, bert, HOLD, ABLE)
    bert.reply(out, 183, ANSWER)
    (early,) = anna.hears(183)
    bert.reply(out, 200, ANSWER)
    bert.hears("ACK")
    anna.hears()
    anna.say(prack(anna, invite, early))
    done, ok = anna.hears(200, 200)
    assert (done.cseq.method, ok.cseq.method) == ("PRACK", "INVITE")


@pytest.mark.parametrize("number", [1, 0])
def test_prack_of_nothing(world, anna, bert, number):
    invite, out = ringing(world, anna, bert, HOLD, ABLE)
    bert.reply(out, 183, ANSWER)
    (early,) = anna.hears(183)
    anna.say(prack(anna, invite, early, number=early.rseq + number))
    anna.hears(481 if number else 200)
    if not number:
        anna.say(prack(anna, invite, early))
        anna.hears(481)


def test_prack_that_cannot_be_read(world, anna, bert):
    _, out = ringing(world, anna, bert, HOLD, ABLE)
    bert.reply(out, 183, ANSWER)
    (early,) = anna.hears(183)
    anna.say(anna.within(early, "PRACK", ("RAck", "many")))
    anna.hears(400)


def test_a_prack_with_a_body_that_nobody_understands(world, anna, bert):
    """It is told what would be understood, and tries again."""
    anna.invite("bert", HOLD, ABLE)
    bert.reply(bert.hears("INVITE")[0], 183, ANSWER)
    (_, early) = anna.hears(100, 183)
    rack = ("RAck", f"{early.rseq} {early.cseq}")
    anna.say(anna.within(early, "PRACK", rack, sdp=b"hello").replaced("Content-Type", ["text/plain"]))
    assert anna.hears(415)[0].get("Accept") == "application/sdp"
    anna.say(anna.within(early, "PRACK", rack))
    anna.hears(200)


def test_without_any_prack_the_invite_fails(world, anna, bert):
    _, out = ringing(world, anna, bert, HOLD, ABLE)
    bert.reply(out, 183, ANSWER)
    world.pass_time(33)
    assert anna.heard()[-1].status == 504
    assert {message.method for message in bert.heard()} == {"CANCEL"}
    bert.reply(out, 487)
    settle(world, 504, 102, "server")


def test_cancel_while_a_prack_is_owed(world, anna, bert):
    invite, out = ringing(world, anna, bert, HOLD, ABLE)
    bert.reply(out, 183, ANSWER)
    anna.hears(183)
    bert.reply(out, 200, ANSWER)
    anna.say(anna.beside(invite, "CANCEL"))
    anna.hears(200, 487)
    bert.hears("ACK", "BYE")
    settle(world, 487, 16, "a")


def test_offer_in_1xx_answer_in_prack(world, anna, bert):
    invite, out = ringing(world, anna, bert, b"", ABLE)
    assert "100rel" in out.supported
    bert.reply(out, 183, ANSWER, *rseq(1))
    bert.hears()
    (early,) = anna.hears(183)
    assert early.body == ANSWER + b"a=via-b\r\n"
    anna.say(prack(anna, invite, early, HOLD))
    anna.hears(200)
    (answer,) = bert.hears("PRACK")
    assert answer.body == HOLD + b"a=via-a\r\n"
    bert.reply(answer, 200)
    bert.reply(out, 200)
    bert.hears("ACK")
    (ok,) = anna.hears(200)
    assert ok.body == b""
    anna.say(anna.beside(invite, "ACK", to=str(ok.to), branch="x"))
    assert world.core.calls()[0].state == CallState.TALKING
    kinds = [(type(effect), effect.leg) for effect in world.log if isinstance(effect, OfferMedia | AnswerMedia)]
    assert kinds == [(OfferMedia, "b"), (AnswerMedia, "a")]


def test_callee_may_not_send_1xx_reliably_where_the_caller_cannot_answer(world, anna, bert):
    _, out = ringing(world, anna, bert, b"")
    assert "100rel" not in out.supported


def settled(world, anna, bert):
    """Both have settled a first exchange before the answer."""
    invite, out = ringing(world, anna, bert, HOLD, ABLE)
    bert.reply(out, 183, ANSWER, *rseq(1), ("Allow", "INVITE, ACK, BYE, UPDATE, PRACK"))
    bert.reply(bert.hears("PRACK")[0], 200)
    (early,) = anna.hears(183)
    return invite, out, early


def finish(world, anna, bert, invite, out):
    bert.reply(out, 200)
    bert.hears("ACK")
    (ok,) = anna.hears(200)
    assert ok.body == b""
    anna.say(anna.beside(invite, "ACK", to=str(ok.to), branch="fin"))
    assert world.core.calls()[0].state == CallState.TALKING


def test_prack_with_a_second_offer(world, anna, bert):
    invite, out, early = settled(world, anna, bert)
    anna.say(prack(anna, invite, early, HOLD))
    (update,) = bert.hears("UPDATE")
    bert.reply(update, 200, ANSWER)
    (done,) = anna.hears(200)
    assert (done.cseq.method, done.body) == ("PRACK", ANSWER + b"a=via-b\r\n")
    finish(world, anna, bert, invite, out)


@pytest.mark.parametrize("by", ["a", "b"])
def test_update_before_the_answer(world, anna, bert, by):
    invite, out, early = settled(world, anna, bert)
    anna.say(prack(anna, invite, early))
    anna.hears(200)
    near, far, last = (anna, bert, early) if by == "a" else (bert, anna, out)
    if by == "b":
        # Anna has to have said that she takes UPDATE.
        anna.say(anna.within(early, "UPDATE", ("Allow", "UPDATE")))
        anna.hears(200)
    near.say(near.within(last, "UPDATE", sdp=HOLD))
    (update,) = far.hears("UPDATE")
    assert update.body == HOLD + f"a=via-{by}\r\n".encode()
    bert.reply(out, 180)
    far.reply(update, 200, ANSWER)
    (ok, *_) = [message for message in near.heard() if message.cseq.method == "UPDATE"]
    assert (ok.status, ok.body) == (200, ANSWER + f"a=via-{'b' if by == 'a' else 'a'}\r\n".encode())
    assert by == "b" or anna.hears() == []
    anna.heard()
    finish(world, anna, bert, invite, out)


def test_answer_that_overtakes_an_update_waits(world, anna, bert):
    invite, out, early = settled(world, anna, bert)
    anna.say(prack(anna, invite, early))
    anna.say(anna.within(early, "UPDATE", sdp=HOLD))
    (update,) = bert.hears("UPDATE")
    bert.reply(out, 200)
    bert.hears()
    anna.hears(200)
    bert.reply(update, 200, ANSWER)
    bert.hears("ACK")
    assert [message.cseq.method for message in anna.hears(200, 200)] == ["UPDATE", "INVITE"]
    assert invite


def test_refused_update_before_the_answer_changes_nothing(world, anna, bert):
    invite, out, early = settled(world, anna, bert)
    anna.say(prack(anna, invite, early))
    anna.say(anna.within(early, "UPDATE", sdp=HOLD))
    bert.reply(bert.hears("UPDATE")[0], 488)
    anna.hears(200, 488)
    finish(world, anna, bert, invite, out)


def test_update_before_the_first_exchange_is_settled(world, anna, bert):
    _, out = ringing(world, anna, bert)
    bert.reply(out, 183, ANSWER)
    (early,) = anna.hears(183)
    anna.say(anna.within(early, "UPDATE", sdp=HOLD))
    anna.hears(491)


@pytest.mark.parametrize("by", ["a", "b"])
def test_second_invite_before_the_answer_is_refused(world, anna, bert, by):
    invite, out, early = settled(world, anna, bert)
    anna.say(prack(anna, invite, early))
    anna.hears(200)
    near, last = (anna, early) if by == "a" else (bert, out)
    near.say(near.within(last, "INVITE", sdp=HOLD))
    (refused,) = near.hears(500 if by == "a" else 491)
    assert ("Retry-After" in refused) is (by == "a")
    finish(world, anna, bert, invite, out)
