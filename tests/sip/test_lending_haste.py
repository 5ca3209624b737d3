# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: F811 - fixtures that are imported
"""Transfers between two processes that are heard of too early: while the other call is not yet, or no more, at rest."""

from __future__ import annotations

from sip.call_table import CallState
from sip.message import Request
from sip.steering import drawn_for
from tests.sip.conftest import Peer
from tests.sip.talk import ANSWER, HOLD, Talk
from tests.sip.test_transfer import CARL, takes
from tests.sip.workers import ONE, OTHER, WORKERS, asked, bye, carl, transfer, world  # noqa: F401


def taken_over(world, anna, bert, carl):
    """Bert and Carl talk by Anna's transfer, and nothing else is left."""
    takes(carl, CARL)
    carl.hears("ACK")
    toward_bert = takes(bert, HOLD)
    bert.hears("ACK")
    for each in anna.heard():
        anna.reply(each, 200)
    assert world.views() == [[CallState.TALKING], []]
    bye(world, bert, toward_bert, carl)
    assert world.empty()


def test_a_transfer_that_is_heard_of_before_the_ack_of_the_other_call(world, anna, bert, carl):
    """They go to different workers."""
    talk = Talk(world, anna, bert, call_id=ONE)
    invite = anna.invite("carl", HOLD, call_id=OTHER, from_tag="anna2")
    (out,) = carl.hears("INVITE")
    carl.reply(out, 200, CARL)
    carl.hears("ACK")
    ok = anna.heard()[-1]
    transfer(anna, talk, ok)
    trying = anna.hears(202, "NOTIFY")[1]
    anna.reply(trying, 200)
    carl.hears()
    anna.say(anna.beside(invite, "ACK", to=str(ok.to), branch="late"))
    world.pass_time(0.3)
    taken_over(world, anna, bert, carl)


def test_a_transfer_while_the_other_call_is_just_changed(world, anna, bert, carl, asked):
    talk, ok, out = asked
    again = carl.within(out, "INVITE", sdp=CARL)
    carl.say(again)
    (offered,) = [m for m in anna.heard() if isinstance(m, Request) and m.method == "INVITE"]
    transfer(anna, talk, ok)
    anna.reply(anna.hears(202, "NOTIFY")[1], 200)
    anna.reply(offered, 200, HOLD)
    carl.say(carl.beside(again, "ACK", to=str(carl.heard()[-1].to), branch="changed"))
    anna.hears("ACK")
    world.pass_time(0.3)
    taken_over(world, anna, bert, carl)


def test_one_transfer_soon_after_the_other(world, anna, bert, carl, asked):
    """Dora takes Bert's place when his call has gone to another worker, and nobody but the two knows that yet."""
    talk, ok, out = asked
    world.passwords["dora"] = "pd"
    dora = Peer(world, "dora", "203.0.113.40")
    world.holding = True
    transfer(anna, talk, ok)
    value = f"{out.call_id};to-tag={out.from_.tag};from-tag=carl-tag"
    dora.invite("bert", ANSWER, ("Replaces", value), call_id=drawn_for(0, WORKERS, lambda: "dora"))
    dora.hears(100)
    world.release()
    takes(carl, CARL)
    carl.hears("ACK")
    takes(bert, HOLD)
    bert.hears("ACK")
    world.pass_time(0.3)
    reinvite = takes(bert, HOLD)
    bert.hears("ACK")
    (taken,) = dora.hears(200)
    carl.reply(carl.hears("BYE")[0], 200)
    dora.say(dora.within(taken, "ACK"))
    assert reinvite.body.startswith(ANSWER)


def test_a_transfer_to_a_call_that_ends_meanwhile(world, anna, bert, carl, asked):
    talk, ok, out = asked
    again = carl.within(out, "INVITE", sdp=CARL)
    carl.say(again)
    anna.heard()
    transfer(anna, talk, ok)
    anna.reply(anna.hears(202, "NOTIFY")[1], 200)
    carl.say(carl.within(out, "BYE"))
    anna.heard()
    world.pass_time(2.1)
    assert [m for m in anna.heard() if isinstance(m, Request)][-1].body == b"SIP/2.0 481 Nothing To Replace\r\n"
    assert world.views()[0] == [CallState.TALKING]
