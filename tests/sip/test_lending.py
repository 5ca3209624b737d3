# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: F811 - fixtures that are imported
"""Transfers that join calls of two processes: the leg goes over, and comes back where nothing comes of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sip.call_table import CallState
from sip.effects import TrunkTarget
from sip.message import Request
from tests.sip.conftest import Peer
from tests.sip.talk import ANSWER, HOLD, Talk
from tests.sip.test_transfer import CARL, consult, refer, takes
from tests.sip.test_trunks import CARRIER, FIRST
from tests.sip.workers import ONE, OTHER, asked, bye, carl, methods, transfer, world  # noqa: F401


def test_attended_transfer(world, anna, bert, carl, asked):
    talk, ok, out = asked
    transfer(anna, talk, ok)
    anna.hears(202, "NOTIFY")
    toward_carl = takes(carl, CARL)
    assert (toward_carl.call_id, toward_carl.body) == (out.call_id, ANSWER + b"a=via-a\r\n")
    assert toward_carl.cseq.number > out.cseq.number
    carl.hears("ACK")
    toward_bert = takes(bert, HOLD)
    bert.hears("ACK")
    done, *byes = anna.hears("NOTIFY", "BYE", "BYE")
    assert done.body == b"SIP/2.0 200 OK\r\n"
    for each in byes:
        anna.reply(each, 200)
    assert world.views() == [[CallState.TALKING], []]
    hold = bert.within(toward_bert, "INVITE", sdp=HOLD)
    bert.say(hold)
    takes(carl, CARL)
    held = bert.hears(100, 200)[1]
    bert.say(bert.beside(hold, "ACK", to=str(held.to), branch="held"))
    carl.hears("ACK")
    bye(world, carl, toward_carl, bert)
    assert world.empty()
    assert sorted((end.dialled, end.reason) for end in world.ended()) == [
        ("bert", "Transferred"),
        ("carl", ""),
        ("carl", "Transferred"),
    ]


def test_a_target_that_refuses_stays_where_it_was(world, anna, bert, carl, asked):
    talk, ok, out = asked
    transfer(anna, talk, ok)
    carl.reply(carl.hears("INVITE")[0], 488)
    assert anna.heard()[-1].body == b"SIP/2.0 488 Not Acceptable Here\r\n"
    bert.hears()
    assert world.views() == [[CallState.TALKING], [CallState.TALKING]]
    back = takes(carl, CARL, "ACK")
    assert back.body.split(b"m=")[1] == out.body.split(b"m=")[1]
    carl.hears("ACK")
    bye(world, carl, back, anna)
    bye(world, bert, talk.out, anna)
    assert world.empty()


def test_a_moved_party_that_refuses_brings_the_target_back(world, anna, bert, carl, asked):
    talk, ok, out = asked
    transfer(anna, talk, ok)
    takes(carl, CARL)
    carl.hears("ACK")
    bert.reply(bert.hears("INVITE")[0], 488)
    back = takes(carl, CARL)
    assert back.body.split(b"m=")[1] == out.body.split(b"m=")[1]
    carl.hears("ACK")
    takes(bert, ANSWER, "ACK")
    bert.hears("ACK")
    assert world.views() == [[CallState.TALKING], [CallState.TALKING]]
    anna.heard()
    bye(world, anna, ok, carl)
    bye(world, anna, talk.ok, bert)
    assert world.empty()


def test_a_moved_party_that_leaves_meanwhile(world, anna, bert, carl, asked):
    """Carl's re-INVITE is under way, and is over before he goes back."""
    talk, ok, _ = asked
    transfer(anna, talk, ok)
    (out,) = carl.hears("INVITE")
    bert.say(bert.within(talk.out, "BYE"))
    bert.hears(200)
    assert world.views()[1] == [CallState.LENT]
    carl.reply(out, 200, CARL)
    carl.hears("ACK")
    world.pass_time(0.25)
    assert world.views()[1] == [CallState.TALKING]
    back = takes(carl, CARL)
    carl.hears("ACK")
    anna.heard()
    bye(world, carl, back, anna)
    world.pass_time(70)
    assert world.empty()


def test_a_target_that_leaves_meanwhile_ends_its_own_call(world, anna, bert, carl, asked):
    talk, ok, out = asked
    transfer(anna, talk, ok)
    (again,) = carl.hears("INVITE")
    carl.say(carl.within(out, "BYE"))
    carl.hears(200)
    anna.reply([each for each in anna.heard() if isinstance(each, Request)][-1], 200)
    assert world.views()[1] == []
    assert CallState.TALKING in world.views()[0]
    carl.reply(again, 487)
    world.pass_time(40)
    bye(world, bert, talk.out, anna)
    assert world.empty()


def test_a_referrer_that_leaves_both_calls_at_once(world, anna, bert, carl, asked):
    talk, ok, _ = asked
    transfer(anna, talk, ok)
    anna.hears(202, "NOTIFY")
    (out,) = carl.hears("INVITE")
    for last in (ok, talk.ok):
        anna.say(anna.within(last, "BYE"))
    anna.hears(200, 200)
    carl.reply(out, 200, CARL)
    carl.hears("ACK")
    toward_bert = takes(bert, HOLD)
    bert.heard()
    bye(world, bert, toward_bert, carl)
    assert world.empty()


def test_a_referrer_that_left_and_a_target_that_refuses(world, anna, bert, carl, asked):
    """There is no call for Carl to come back to: he is hung up."""
    talk, ok, _ = asked
    transfer(anna, talk, ok)
    (out,) = carl.hears("INVITE")
    anna.say(anna.within(ok, "BYE"))
    carl.reply(out, 488)
    assert methods(carl) == ["ACK", "BYE"]
    bert.hears()
    assert world.views()[0] == [CallState.TALKING]


def test_a_transfer_to_somebody_elses_call(world, anna, bert, carl):
    talk = Talk(world, anna, bert, call_id=ONE)
    world.passwords["dora"] = "pd"
    ok, _ = consult(world, Peer(world, "dora", "203.0.113.40"), bert, carl, OTHER)
    transfer(anna, talk, ok)
    assert anna.hears(202, "NOTIFY", "NOTIFY")[2].body == b"SIP/2.0 403 Not Your Call\r\n"
    assert world.views() == [[CallState.TALKING], [CallState.TALKING]]


@pytest.mark.parametrize("place", [ONE, OTHER])
def test_a_transfer_to_a_call_that_is_not_there(world, anna, bert, place):
    talk = Talk(world, anna, bert, call_id=ONE)
    refer(anna, talk.ok, f"sip:carl@example.org?Replaces={place}x%3Bto-tag%3Da%3Bfrom-tag%3Db")
    accepted, trying = anna.hears(202, "NOTIFY")
    assert (accepted.status, trying.body) == (202, b"SIP/2.0 100 Trying\r\n")
    anna.reply(trying, 200)
    world.pass_time(2.1)
    (failed,) = anna.hears("NOTIFY")
    assert failed.body == b"SIP/2.0 481 Nothing To Replace\r\n"
    assert world.views() == [[CallState.TALKING], []]
    bye(world, bert, talk.out, anna)
    assert world.empty()


@pytest.mark.parametrize("cancelled", [False, True])
def test_invite_that_replaces_a_party_elsewhere(world, anna, bert, carl, cancelled):
    talk = Talk(world, anna, bert, call_id=ONE)
    value = f"{talk.out.call_id};to-tag={talk.out.from_.tag};from-tag=bert-tag"
    world.holding = cancelled
    invite = carl.invite("anna", CARL, ("Replaces", value), call_id=OTHER)
    if cancelled:
        carl.say(carl.beside(invite, "CANCEL"))
        assert [message.status for message in carl.heard()] == [100, 200, 487]
        assert world.views()[0] == [CallState.LENT]
        world.release()
        assert world.views()[0] == [CallState.TALKING]
        anna.hears()
        bye(world, bert, talk.out, anna)
        assert world.empty()
        return
    reinvite = takes(anna, HOLD)
    anna.hears("ACK")
    ok = carl.heard()[-1]
    assert (ok.status, ok.body) == (200, HOLD + b"a=via-b\r\n")
    carl.say(carl.beside(invite, "ACK", to=str(ok.to), branch="r"))
    bert.reply(bert.hears("BYE")[0], 200)
    assert world.views() == [[], [CallState.TALKING]]
    bye(world, anna, reinvite, carl)
    assert world.empty()


def test_an_answer_that_comes_too_late_goes_back(world, anna, bert, carl, asked):
    talk, ok, _ = asked
    world.holding = True
    transfer(anna, talk, ok)
    world.pass_time(21)
    assert [m for m in anna.heard() if isinstance(m, Request)][-1].body.startswith(b"SIP/2.0 504")
    assert world.views() == [[CallState.TALKING], [CallState.LENT]]
    world.release()
    assert world.views() == [[CallState.TALKING], [CallState.TALKING]]
    carl.hears()


def test_a_borrower_that_dies_has_lost_nothing(world, anna, bert, carl, asked):
    talk, ok, out = asked
    transfer(anna, talk, ok)
    (lost,) = carl.hears("INVITE")
    ((call, leg),) = world.lenders
    world.served.pop(lost.call_id)
    world.cores[0] = world.fresh_core(0)
    world.run_of(world.cores[1], world.cores[1].loan_lost(call, leg, world.now))
    assert world.views()[1] == [CallState.TALKING]
    (back,) = carl.hears("INVITE")
    assert back.body.split(b"m=")[1] == out.body.split(b"m=")[1]
    assert back.cseq.number > lost.cseq.number
    carl.reply(back, 200, CARL)
    carl.hears("ACK")
    anna.heard()
    bye(world, anna, ok, carl)


def test_a_lender_that_dies_learns_that_the_leg_has_left(world, anna, bert, carl, asked):
    """Its journal had the call as it was before."""
    talk, ok, _ = asked
    (view,) = world.cores[1].calls()
    (saved,) = world.cores[1].touch(view.id)
    transfer(anna, talk, ok)
    world.cores[1] = world.fresh_core(1)
    world.run_of(world.cores[1], world.cores[1].restore_call(json.loads(json.dumps(saved.state)), world.now))
    assert world.views()[1] == [CallState.TALKING]
    toward_carl = takes(carl, CARL)
    toward_bert = takes(bert, HOLD)
    for each in [m for m in anna.heard() if isinstance(m, Request) and m.method == "BYE"]:
        anna.reply(each, 200)
    assert world.views() == [[CallState.TALKING], []]
    assert methods(carl) == ["ACK"]
    bert.heard()
    bye(world, carl, toward_carl, bert)
    assert toward_bert
    assert world.empty()


def test_channels_of_trunks_go_along_with_their_legs(world, anna, bert):
    world.run_of(world.cores[0], world.cores[0].set_trunks([replace(CARRIER, channels=5)], world.now))
    world.run_of(world.cores[1], world.cores[1].set_trunks([replace(CARRIER, channels=5)], world.now))
    world.routes["carl"] = (TrunkTarget("carrier", "+49301"),)
    host = Peer(world, "carl", FIRST.host)
    talk = Talk(world, anna, bert, call_id=ONE)
    ok, _ = consult(world, anna, bert, host, OTHER)
    assert world.channels.calls("carrier") == 1
    transfer(anna, talk, ok)
    assert world.channels.calls("carrier") == 1
    host.reply(host.hears("INVITE")[0], 488)
    assert world.channels.calls("carrier") == 1
    takes(host, CARL, "ACK")
    host.hears("ACK")
    anna.heard()
    transfer(anna, talk, ok)
    toward_carl = takes(host, CARL)
    takes(bert, HOLD)
    assert world.channels.calls("carrier") == 1
    host.say(host.within(toward_carl, "BYE"))
    world.pass_time(70)
    assert world.channels.calls("carrier") == 0
