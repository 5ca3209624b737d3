# SPDX-License-Identifier: GPL-3.0-or-later
"""Back-to-back calls, message by message: set-up, the end, and one record for every call."""

from __future__ import annotations

import pytest

from sip.call_table import CALL, CallSignal, CallState
from sip.effects import AnswerMedia, CloseMedia, ForgetCall, OfferMedia
from sip.leg_table import LEG, LegState
from tests.sip.talk import ANSWER, HOLD, settle


def test_each_leg_sees_only_us(world, anna, bert):
    anna.invite("bert", (b"v=0\r\n"), ("Subject", "Lunch"), ("X-Secret", "10.0.0.1"), ("User-Agent", "Phone 1"))
    (out,) = bert.hears("INVITE")
    text = out.to_bytes().decode()
    assert "192.0.2.7" not in text
    assert "Secret" not in text
    assert "Phone 1" not in text
    assert "Authorization" not in text
    assert (out.get("Subject"), out.max_forwards, len(out.vias)) == ("Lunch", 69, 1)
    assert out.call_id != "anna-call"
    assert str(out.from_.uri) == "sip:anna@example.org"
    assert str(out.contacts[0].uri) == "sip:198.51.100.1:5060"
    assert out.uri == "sip:bert@203.0.113.9:5060"


def test_effects_of_a_call_come_in_order(world, anna, bert):
    world.log.clear()
    invite = anna.invite("bert")
    (out,) = bert.hears("INVITE")
    bert.reply(out, 200, ANSWER)
    (ok,) = [m for m in anna.heard() if m.status == 200]
    anna.say(anna.beside(invite, "ACK", to=str(ok.to), branch="o"))
    anna.say(anna.within(ok, "BYE"))
    names = [type(effect).__name__ for effect in world.log]
    assert names == [
        *("Send", "Authenticate", "CallStarted", "Send", "FindRoute", "OfferMedia", "Send", "SaveCall"),
        *("Send", "AnswerMedia", "SaveCall", "Send", "CallAnswered", "SaveCall", "SaveCall"),
        *("Send", "Send", "CloseMedia", "CallEnded", "ForgetCall"),
    ]


def test_200_waits_for_media(world, anna, bert):
    invite = anna.invite("bert")
    (out,) = bert.hears("INVITE")
    world.media = lambda effect: None
    bert.reply(out, 200, ANSWER)
    bert.hears("ACK")
    assert [m.start_line for m in anna.hears(100)]
    (asked,) = world.asked
    assert (asked.leg, asked.sdp, asked.source) == ("b", ANSWER, "203.0.113.9")
    world.run(world.core.media_ready(asked.token, b"x", world.now))
    assert anna.hears(200)[0].body == b"x"
    assert invite


def test_early_media_and_ringing(world, anna, bert):
    anna.invite("bert")
    (out,) = bert.hears("INVITE")
    bert.reply(out, 100)
    bert.reply(out, 180)
    bert.reply(out, 183, ANSWER)
    _, ringing, early = anna.hears(100, 180, 183)
    assert ringing.to.tag == early.to.tag is not None
    assert early.body == ANSWER + b"a=via-b\r\n"
    assert world.core.calls()[0].ringing == world.now


def test_2xx_is_repeated_until_the_ack_and_then_hung_up(world, anna, bert):
    anna.invite("bert")
    (out,) = bert.hears("INVITE")
    bert.reply(out, 200, ANSWER)
    (_ack,) = bert.hears("ACK")
    since = world.now
    anna.hears(100, 200)
    world.pass_time(31.9)
    times = [at for at, line in world.schedule(since) if line == "SIP/2.0 200 OK"]
    assert times == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    world.sent()
    world.pass_time(0.2)
    (bye,) = list(anna.heard())
    assert bye.method == "BYE"
    bert.hears("BYE")
    settle(world, 200, 102, "server")


def test_every_2xx_repeated_gets_its_ack(world, anna, bert, talk):
    for _ in range(5):
        bert.reply(talk.out, 200, ANSWER)
    acks = bert.hears(*["ACK"] * 5)
    assert {ack.to_bytes() for ack in acks} == {talk.ack.to_bytes()}
    assert len(world.core.calls()) == 1


def test_second_2xx_of_a_fork_is_hung_up(world, anna, bert, talk):
    bert.reply(talk.out, 200, ANSWER, tag="other")
    ack, bye = bert.hears("ACK", "BYE")
    assert ack.to.tag == bye.to.tag == "other"
    assert len(world.core.calls()) == 1


def test_retransmitted_invite_is_absorbed(world, anna, bert):
    invite = anna.invite("bert")
    bert.hears("INVITE")
    anna.hears(100)
    anna.say(invite)
    anna.hears(100)
    bert.hears()
    other_way = invite.replaced("Via", [str(invite.via).replace("z9hG4bK", "z9hG4bKother")])
    anna.say(other_way)
    anna.hears(482)


def test_offer_in_200_answer_in_ack(world, anna, bert):
    invite = anna.invite("bert", b"")
    (out,) = bert.hears("INVITE")
    assert out.body == b""
    bert.reply(out, 200, ANSWER)
    bert.hears()
    (ok,) = [m for m in anna.heard() if m.status == 200]
    assert ok.body == ANSWER + b"a=via-b\r\n"
    anna.say(anna.beside(invite, "ACK", to=str(ok.to), branch="late", sdp=HOLD))
    (ack,) = bert.hears("ACK")
    assert ack.body == HOLD + b"a=via-a\r\n"
    kinds = [(type(e), e.leg) for e in world.log if isinstance(e, OfferMedia | AnswerMedia)]
    assert kinds == [(OfferMedia, "b"), (AnswerMedia, "a")]
    bert.reply(out, 200, ANSWER)
    assert bert.hears("ACK")[0].body == ack.body
    bert.say(bert.within(out, "BYE"))
    settle(world, 200, 16, "b")


def test_ack_without_the_answer_owed_ends_the_call(world, anna, bert):
    invite = anna.invite("bert", b"")
    (out,) = bert.hears("INVITE")
    bert.reply(out, 200, ANSWER)
    ok = anna.heard()[-1]
    anna.say(anna.beside(invite, "ACK", to=str(ok.to), branch="late"))
    bert.hears("ACK", "BYE")
    anna.hears("BYE")
    settle(world, 200, 88, "a")


@pytest.mark.parametrize("by", ["a", "b"])
def test_bye_from_either_side(world, anna, bert, talk, by):
    near, far, last = (anna, bert, talk.ok) if by == "a" else (bert, anna, talk.out)
    near.say(near.within(last, "BYE", ("Reason", "Q.850;cause=31;text=x")))
    near.hears(200)
    (bye,) = far.hears("BYE")
    assert bye.get("Reason") == "Q.850;cause=31"
    far.reply(bye, 200)
    settle(world, 200, 31, by)


def test_both_hang_up_at_once(world, anna, bert, talk):
    anna.say(anna.within(talk.ok, "BYE"))
    bert.hears("BYE")
    bert.say(bert.within(talk.out, "BYE"))
    bert.hears(200)
    settle(world, 200, 16, "a")


def test_bye_of_callee_waits_for_the_callers_ack(world, anna, bert):
    invite = anna.invite("bert")
    (out,) = bert.hears("INVITE")
    bert.reply(out, 200, ANSWER)
    bert.hears("ACK")
    ok = anna.hears(100, 200)[1]
    bert.say(bert.within(out, "BYE"))
    bert.hears(200)
    anna.hears()
    anna.say(anna.beside(invite, "ACK", to=str(ok.to), branch="ack"))
    anna.hears("BYE")
    settle(world, 200, 16, "b")


def test_bye_without_answer_is_repeated_then_let_go(world, anna, bert, talk):
    since = world.now
    anna.say(anna.within(talk.ok, "BYE"))
    world.pass_time(40)
    byes = [at for at, line in world.schedule(since) if line.startswith("BYE")]
    assert byes == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    settle(world, 200, 16, "a")


def test_operator_hangs_up(world, anna, bert, talk):
    world.run(world.core.hang_up(world.core.calls()[0].id, world.now, 8))
    assert anna.hears("BYE")[0].get("Reason") == "Q.850;cause=8"
    bert.hears("BYE")
    settle(world, 200, 8, "server")


def test_record_comes_between_media_and_journal(world, anna, bert, talk):
    world.pass_time(5)
    anna.say(anna.within(talk.ok, "BYE"))
    (end,) = world.ended()
    place = world.log.index(end)
    assert [type(effect) for effect in world.log[place - 1 : place + 2]] == [CloseMedia, type(end), ForgetCall]
    assert (end.a_call_id, end.b_call_id) == ("anna-call", talk.out.call_id)
    assert (end.caller, end.dialled, end.ended - end.answered) == ("anna", "bert", 5)


def test_every_state_can_be_reached_and_left():
    for table, begins, ends in (
        (CALL, {CallState.ROUTING}, {CallState.ENDED}),
        (LEG, {LegState.INCOMING, LegState.CALLING}, set()),
    ):
        states = set(type(next(iter(begins))))
        assert {state for state, _ in table.values()} | begins == states
        assert {state for state, _ in table} | ends == states


def test_every_running_call_can_be_hung_up():
    for state in CallState:
        assert ((state, CallSignal.HANGUP) in CALL) == (state is not CallState.ENDED)
