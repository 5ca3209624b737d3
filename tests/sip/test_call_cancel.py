# SPDX-License-Identifier: GPL-3.0-or-later
"""CANCEL, in all the orders in which it can cross what it cancels."""

from __future__ import annotations

import pytest

from sip.call_table import CallState
from tests.sip.talk import ANSWER, settle


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


def cancelled_while_ringing(anna, bert):
    """The INVITE that bert got; anna's CANCEL is on its way to him."""
    invite = anna.invite("bert")
    (out,) = bert.hears("INVITE")
    bert.reply(out, 180)
    anna.say(anna.beside(invite, "CANCEL"))
    return out


def test_cancel_while_ringing_with_487_lost(world, anna, bert):
    out = cancelled_while_ringing(anna, bert)
    (cancel,) = bert.hears("CANCEL")
    bert.reply(cancel, 200)
    world.pass_time(3)
    bert.reply(out, 487)
    bert.reply(out, 487)
    bert.hears("ACK", "ACK")
    settle(world, 487, 16, "a")


def test_both_answers_to_a_cancelled_invite_have_one_tag(anna, bert):
    invite = anna.invite("bert")
    bert.reply(bert.hears("INVITE")[0], 180)
    (_, alert) = anna.hears(100, 180)
    anna.say(anna.beside(invite, "CANCEL"))
    answers = anna.hears(200, 487)
    assert {answer.to.tag for answer in answers} == {alert.to.tag}


def test_cancel_without_any_final_is_given_up(world, anna, bert):
    cancelled_while_ringing(anna, bert)
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
