# SPDX-License-Identifier: GPL-3.0-or-later
"""A process dies in the middle of what calls do beside talking: forks, transfers, trunks, session timers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sip.call_table import CallState
from tests.sip.conftest import Peer
from tests.sip.talk import ANSWER, HOLD, settle
from tests.sip.test_restore import die
from tests.sip.test_transfer import CARL, refer, takes
from tests.sip.test_trunks import CARRIER, LOGIN, carrier, challenge, one, proves


def test_all_branches_ring_on(world, anna, bert):
    second = Peer(world, "bert", "203.0.113.10")
    assert second.register(call_id="second").status == 200
    anna.invite("bert")
    for phone in (bert, second):
        phone.reply(phone.hears("INVITE")[0], 180)
    die(world)
    (one_more,), (two_more,) = bert.hears("INVITE"), second.hears("INVITE")
    bert.reply(one_more, 180)
    second.reply(two_more, 200, ANSWER)
    second.hears("ACK")
    bert.hears("CANCEL")
    assert anna.heard()[-1].status == 200


def test_call_of_a_transfer_under_way_goes_on(world, anna, bert, talk):
    carl = Peer(world, "carl", "203.0.113.30")
    assert carl.register().status == 200
    before = world.core.calls()[0].id
    anna.say(anna.within(talk.ok, "OPTIONS"))
    anna.hears(200)
    refer(anna, talk.ok)
    carl.hears("INVITE")
    die(world)
    (view,) = world.core.calls()
    assert (view.id, view.state) == (before, CallState.TALKING)
    bert.say(bert.within(talk.out, "BYE"))
    anna.hears("BYE")


def test_call_that_was_transferred(world, anna, bert, talk):
    carl = Peer(world, "carl", "203.0.113.30")
    assert carl.register().status == 200
    refer(anna, talk.ok)
    (out,) = carl.hears("INVITE")
    carl.reply(out, 200, CARL)
    reinvite = takes(bert, HOLD)
    anna.reply(anna.heard()[-1], 200)
    die(world)
    (view,) = world.core.calls()
    assert (view.state, view.caller, view.dialled) == (CallState.TALKING, "anna", "carl")
    bert.say(bert.within(reinvite, "BYE"))
    bert.hears(200)
    carl.reply(carl.hears("BYE")[0], 200)
    world.log[:] = [effect for effect in world.log if getattr(effect, "dialled", "") != "bert"]
    settle(world, 200, 16, "a")


def test_trunk_is_known_again_before_the_call_ends(world, anna):
    host, _ = carrier(world, login=LOGIN)
    invite = anna.invite("49301")
    out = one(host, "INVITE")
    host.reply(out, 200, ANSWER)
    ok = anna.heard()[-1]
    anna.say(anna.beside(invite, "ACK", to=str(ok.to), branch="x"))
    die(world)
    world.run(world.core.set_trunks([replace(CARRIER, login=LOGIN)], world.now))
    assert world.core.trunks()[0].calls == 1
    anna.say(anna.within(ok, "BYE"))
    bye = one(host, "BYE")
    challenge(host, bye)
    again = one(host, "BYE")
    assert proves(again)
    host.reply(again, 200)
    world.pass_time(40)
    assert world.core.trunks()[0].calls == 0


@pytest.mark.parametrize("restarted", [False, True])
def test_in_a_dialog_that_a_trunk_opened_its_challenges_are_not_answered(world, bert, restarted):
    host, _ = carrier(world, login=LOGIN)
    invite = host.request("INVITE", "sip:bert@198.51.100.1", sdp=HOLD)
    host.say(invite)
    (out,) = bert.hears("INVITE")
    bert.reply(out, 200, ANSWER)
    bert.hears("ACK")
    ok = host.heard()[-1]
    host.say(host.beside(invite, "ACK", to=str(ok.to), branch="x"))
    if restarted:
        die(world, [replace(CARRIER, login=LOGIN)])
    bert.say(bert.within(out, "BYE"))
    bye = one(host, "BYE")
    challenge(host, bye)
    host.hears()
    assert not bye.authorizations
    world.pass_time(40)
    assert world.empty()


def test_session_timers_go_on(world, anna, bert):
    invite = anna.invite("bert", HOLD, ("Supported", "timer"), ("Session-Expires", "90"))
    (out,) = bert.hears("INVITE")
    bert.reply(out, 200, ANSWER, ("Supported", "timer"), ("Session-Expires", "600;refresher=uas"))
    ok = anna.heard()[-1]
    anna.say(anna.beside(invite, "ACK", to=str(ok.to), branch="x"))
    bert.heard()
    die(world)
    world.pass_time(59)
    assert not world.ended()
    world.pass_time(2)
    assert [message.method for message in bert.heard()][:1] == ["BYE"]
    assert world.ended()[0].cause == 102
