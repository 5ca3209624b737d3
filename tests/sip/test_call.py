# SPDX-License-Identifier: GPL-3.0-or-later
"""Back-to-back calls, message by message: set-up, races, changes, and one record for every call."""

from __future__ import annotations

import pytest

from sip.call_table import CALL, CallSignal, CallState
from sip.effects import Address, AnswerMedia, CloseMedia, ForgetCall, OfferMedia, RevertMedia, UriTarget, UserTarget
from sip.leg_table import LEG, LegState

ANSWER = b"v=0\r\nm=audio 50000 RTP/AVP 8\r\n"
HOLD = b"v=0\r\nm=audio 40000 RTP/AVP 8\r\na=sendonly\r\n"


class Talk:
    """A call of Anna to Bert that was answered and acknowledged."""

    def __init__(self, world, anna, bert):
        self.invite = anna.invite("bert")
        anna.hears(100)
        (self.out,) = bert.hears("INVITE")
        bert.reply(self.out, 200, ANSWER)
        (self.ack,) = bert.hears("ACK")
        (self.ok,) = anna.hears(200)
        anna.say(anna.beside(self.invite, "ACK", to=str(self.ok.to), branch="talk"))
        world.log.clear()


@pytest.fixture
def talk(world, anna, bert):
    return Talk(world, anna, bert)


def settle(world, status, cause, by, clients=()):
    """Every trace of the call goes, and one record says how it ended."""
    world.pass_time(70)
    assert [(end.status, end.cause, end.ended_by) for end in world.ended()] == [(status, cause, by)]
    assert world.empty(), world.core.counts()


# --- set-up ---


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
        *("Send", "Authenticate", "Send", "FindRoute", "OfferMedia", "Send", "SaveCall"),
        *("Send", "AnswerMedia", "SaveCall", "Send", "SaveCall", "SaveCall"),
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


# --- failures ---

MATRIX = [
    (302, 480, 31), (400, 400, 41), (401, 403, 21), (403, 403, 21), (404, 404, 1), (405, 405, 63), (406, 406, 79),
    (407, 403, 21), (408, 408, 102), (410, 410, 22), (413, 413, 127), (415, 415, 79), (420, 500, 127), (480, 480, 18),
    (481, 480, 41), (482, 482, 25), (483, 483, 25), (484, 484, 28), (485, 485, 1), (486, 486, 17), (487, 480, 16),
    (488, 488, 88), (491, 480, 41), (500, 500, 41), (501, 501, 79), (502, 502, 38), (503, 503, 41), (504, 504, 102),
    (505, 505, 127), (600, 600, 17), (603, 603, 21), (604, 604, 1), (606, 606, 88),
]  # fmt: skip


@pytest.mark.parametrize(("status", "told", "cause"), MATRIX)
def test_failures_reach_the_caller(world, anna, bert, status, told, cause):
    invite = anna.invite("bert")
    (out,) = bert.hears("INVITE")
    bert.reply(out, status)
    bert.hears("ACK")
    anna.hears(100, told)
    anna.say(anna.beside(invite, "ACK"))
    settle(world, told, cause, "b")


def test_failure_is_acked_every_time(world, anna, bert):
    anna.invite("bert")
    (out,) = bert.hears("INVITE")
    for _ in range(3):
        bert.reply(out, 486)
    bert.hears("ACK", "ACK", "ACK")


def test_no_response_at_all(world, anna, bert):
    anna.invite("bert")
    since = world.now
    (first,) = bert.hears("INVITE")
    anna.hears(100)
    world.pass_time(32)
    assert [at for at, line in world.schedule(since) if line.startswith("INVITE")] == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    anna.hears(408)
    settle(world, 408, 102, "server")
    assert first


def test_rings_too_long(world, anna, bert):
    anna.invite("bert")
    (out,) = bert.hears("INVITE")
    bert.reply(out, 180)
    anna.hears(100, 180)
    world.pass_time(180)
    (cancel,) = bert.hears("CANCEL")
    bert.reply(cancel, 200)
    bert.reply(out, 487)
    bert.hears("ACK")
    anna.hears(480)
    settle(world, 480, 19, "server")


def test_next_contact_is_tried(world, anna, bert):
    world.routes["carl"] = (UriTarget("sip:carl@203.0.113.50"), UserTarget("nobody"), UserTarget("bert"))
    anna.invite("carl")
    (out,) = world.sent(Address("203.0.113.50", 5060))
    bert.hears()
    world.receive(
        out.to_bytes().replace(b"INVITE sip:carl@203.0.113.50 SIP/2.0", b"SIP/2.0 503 Full", 1),
        Address("203.0.113.50", 5060),
    )
    (second,) = bert.hears("INVITE")
    assert second.call_id != out.call_id
    assert [effect.toward for effect in world.effects(OfferMedia)] == ["203.0.113.50", "203.0.113.9"]
    bert.reply(second, 486)
    world.sent(Address("203.0.113.50", 5060))
    anna.hears(100, 486)
    settle(world, 486, 17, "b")


@pytest.mark.parametrize(
    ("route", "status"),
    [
        ((404, "Not Found"), 404),
        ((UserTarget("carl"),), 480),
        ((UriTarget("sip:carl@198.51.100.1"),), 482),
        ((UriTarget("sip:carl@a-name.example"),), 480),
        ((), 480),
    ],
)
def test_no_way_to_go(world, anna, route, status):
    world.routes["carl"] = route
    anna.invite("carl")
    anna.hears(100, status)
    world.pass_time(70)
    assert [end.status for end in world.ended()] == [status]
    assert not world.effects(CloseMedia)
    assert world.empty()


@pytest.mark.parametrize("leg", ["a", "b"])
def test_media_refused(world, anna, bert, leg):
    world.media = lambda effect: (488, "Bad Address") if effect.leg == leg else effect.sdp
    anna.invite("bert")
    if leg == "b":
        (out,) = bert.hears("INVITE")
        bert.reply(out, 200, ANSWER)
        bert.hears("ACK", "BYE")
    refused = anna.hears(100, 488)[1]
    assert refused.reason == "Bad Address"
    settle(world, 488, 88, "server")


def test_question_without_answer_ends_the_call(world, anna, bert):
    world.media = lambda effect: None
    anna.invite("bert")
    world.pass_time(20)
    assert anna.heard()[1].status == 504
    settle(world, 504, 102, "server")


# --- CANCEL, in all its orders ---


def test_cancel_before_the_far_invite(world, anna, bert):
    world.media = lambda effect: None
    invite = anna.invite("bert")
    anna.say(anna.beside(invite, "CANCEL"))
    anna.hears(100, 200, 487)
    bert.hears()
    world.run(world.core.media_ready(world.asked[0].token, b"late", world.now))
    bert.hears()
    settle(world, 487, 16, "a")


def test_cancel_before_any_provisional_waits_for_one(world, anna, bert):
    invite = anna.invite("bert")
    (out,) = bert.hears("INVITE")
    anna.say(anna.beside(invite, "CANCEL"))
    _, accepted, terminated = anna.hears(100, 200, 487)
    assert accepted.cseq.method == "CANCEL"
    assert terminated.cseq.method == "INVITE"
    bert.hears()
    bert.reply(out, 180)
    (cancel,) = bert.hears("CANCEL")
    assert (cancel.via, cancel.cseq.number, cancel.uri) == (out.via, out.cseq.number, out.uri)
    bert.reply(cancel, 200)
    bert.reply(out, 487)
    bert.hears("ACK")
    anna.hears()
    settle(world, 487, 16, "a")


def test_cancel_while_ringing_with_487_lost(world, anna, bert):
    invite = anna.invite("bert")
    (out,) = bert.hears("INVITE")
    bert.reply(out, 180)
    anna.say(anna.beside(invite, "CANCEL"))
    (cancel,) = bert.hears("CANCEL")
    bert.reply(cancel, 200)
    world.pass_time(3)
    bert.reply(out, 487)
    bert.reply(out, 487)
    bert.hears("ACK", "ACK")
    settle(world, 487, 16, "a")


def test_cancel_without_any_final_is_given_up(world, anna, bert):
    invite = anna.invite("bert")
    (out,) = bert.hears("INVITE")
    bert.reply(out, 180)
    anna.say(anna.beside(invite, "CANCEL"))
    settle(world, 487, 16, "a")


@pytest.mark.parametrize("ringing", [False, True])
def test_cancel_crossed_by_200(world, anna, bert, ringing):
    invite = anna.invite("bert")
    (out,) = bert.hears("INVITE")
    if ringing:
        bert.reply(out, 180)
    anna.say(anna.beside(invite, "CANCEL"))
    bert.heard()
    bert.reply(out, 200, ANSWER)
    _, bye = bert.hears("ACK", "BYE")
    bert.reply(out, 200, ANSWER)
    bert.hears("ACK")
    bert.reply(bye, 200)
    settle(world, 487, 16, "a")


def test_cancel_while_media_is_answered(world, anna, bert):
    invite = anna.invite("bert")
    (out,) = bert.hears("INVITE")
    world.media = lambda effect: None
    bert.reply(out, 200, ANSWER)
    anna.say(anna.beside(invite, "CANCEL"))
    bert.hears("ACK", "BYE")
    anna.hears(100, 200, 487)
    world.run(world.core.media_ready(world.asked[0].token, b"late", world.now))
    settle(world, 487, 16, "a")


def test_cancel_after_the_final_has_no_effect(world, anna, bert, talk):
    anna.say(anna.beside(talk.invite, "CANCEL"))
    anna.hears(200)
    assert world.core.calls()[0].state == CallState.TALKING
    bert.hears()


def test_cancel_of_nothing(world, anna):
    anna.say(anna.request("CANCEL", "sip:bert@example.org"))
    anna.hears(481)
    assert world.empty()


def test_bye_before_the_answer_is_a_cancel(world, anna, bert):
    anna.invite("bert")
    (out,) = bert.hears("INVITE")
    bert.reply(out, 180)
    _, ringing = anna.hears(100, 180)
    anna.say(anna.within(ringing, "BYE"))
    anna.hears(200, 487)
    bert.hears("CANCEL")
    settle(world, 487, 16, "a")


# --- the end ---


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


# --- changes ---


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


def test_info_passes_through(world, anna, bert, talk):
    info = anna.within(talk.ok, "INFO").with_body(b"Signal=5\r\n", "application/dtmf-relay")
    anna.say(info)
    (out,) = bert.hears("INFO")
    assert (out.body, out.content_type) == (b"Signal=5\r\n", "application/dtmf-relay")
    bert.reply(out, 415)
    anna.hears(415)


# --- the tables ---


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
