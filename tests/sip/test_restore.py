# SPDX-License-Identifier: GPL-3.0-or-later
"""A process dies at any moment; the next one takes up what was saved, through JSON, and both legs go on."""

from __future__ import annotations

import json

import pytest

from sip.call_table import CallState
from sip.effects import CallEnded, ForgetCall, SaveBindings, SaveCall
from sip.registrar import bindings_text
from tests.sip.talk import ANSWER, HOLD, settle


def die(world, trunks=()):
    """Kill the core, and give what the journal holds to a new one, which knows these trunks."""
    calls: dict[str, object] = {}
    bindings = {}
    for effect in world.log:
        match effect:
            case SaveCall():
                calls[effect.call] = json.loads(json.dumps(effect.state))
            case ForgetCall():
                calls.pop(effect.call, None)
            case SaveBindings():
                bindings[effect.username] = json.loads(bindings_text(effect.bindings) or "[]")
    world.sent()
    world.now += 2
    world.core = world.fresh_core()
    world.run(world.core.set_trunks(trunks, world.now))
    for username, state in bindings.items():
        world.run(world.core.restore_binding(username, state, world.now))
    for state in calls.values():
        world.run(world.core.restore_call(state, world.now))


def answered(anna, bert, sdp=HOLD):
    invite = anna.invite("bert", sdp)
    (out,) = bert.hears("INVITE")
    bert.reply(out, 200, ANSWER)
    return invite, out, anna.heard()[-1]


def talking(anna, bert):
    invite, out, ok = answered(anna, bert)
    anna.say(anna.beside(invite, "ACK", to=str(ok.to), branch="ack"))
    bert.heard()
    return invite, out, ok


@pytest.mark.parametrize("by", ["a", "b"])
def test_bye_after_the_restart(world, anna, bert, by):
    _, out, ok = talking(anna, bert)
    answered_at = world.core.calls()[0].answered
    die(world)
    assert not world.wire
    (view,) = world.core.calls()
    assert (view.state, view.answered) == (CallState.TALKING, answered_at)
    near, far, last = (anna, bert, ok) if by == "a" else (bert, anna, out)
    near.say(near.within(last, "BYE"))
    near.hears(200)
    (bye,) = far.hears("BYE")
    assert bye.cseq.number > 1
    far.reply(bye, 200)
    settle(world, 200, 16, by)


@pytest.mark.parametrize("by", ["a", "b"])
def test_hold_after_the_restart(world, anna, bert, by):
    _, out, ok = talking(anna, bert)
    die(world)
    near, far, last = (anna, bert, ok) if by == "a" else (bert, anna, out)
    change = near.within(last, "INVITE", sdp=HOLD)
    near.say(change)
    (reinvite,) = far.hears("INVITE")
    far.reply(reinvite, 200, ANSWER)
    far.hears("ACK")
    accepted = near.hears(100, 200)[1]
    near.say(near.beside(change, "ACK", to=str(accepted.to), branch="again"))
    die(world)
    far.say(far.within(reinvite, "BYE"))
    near.hears("BYE")
    settle(world, 200, 16, "b" if by == "a" else "a")


def test_many_deaths(world, anna, bert):
    _, _, ok = talking(anna, bert)
    for _ in range(5):
        die(world)
        anna.say(anna.within(ok, "OPTIONS"))
        anna.hears(200)
    anna.say(anna.within(ok, "BYE"))
    settle(world, 200, 16, "a")


def test_2xx_without_ack_is_repeated_by_the_next_process(world, anna, bert):
    invite, _, ok = answered(anna, bert)
    die(world)
    world.pass_time(0.5)
    (again,) = anna.hears(200)
    assert again.to_bytes() == ok.to_bytes()
    anna.say(invite)
    anna.hears(200)
    anna.say(anna.beside(invite, "ACK", to=str(ok.to), branch="ack"))
    world.pass_time(40)
    anna.hears()
    assert world.core.calls()[0].state == CallState.TALKING


def test_2xx_never_acknowledged_ends_the_call(world, anna, bert):
    answered(anna, bert)
    die(world)
    settle(world, 200, 102, "server")


def test_callees_repeated_2xx_is_acknowledged_by_the_next_process(world, anna, bert):
    _, out, _ = talking(anna, bert)
    die(world)
    bert.reply(out, 200, ANSWER)
    bert.hears("ACK")


def test_late_offer_goes_on(world, anna, bert):
    invite, _, ok = answered(anna, bert, b"")
    die(world)
    anna.say(anna.beside(invite, "ACK", to=str(ok.to), branch="ack", sdp=HOLD))
    assert bert.hears("ACK")[0].body.startswith(HOLD)
    assert world.core.calls()[0].state == CallState.TALKING


def test_ringing_goes_on(world, anna, bert):
    anna.invite("bert")
    (out,) = bert.hears("INVITE")
    bert.reply(out, 180)
    die(world)
    (again,) = bert.hears("INVITE")
    assert again.to_bytes() == out.to_bytes()
    bert.reply(out, 180)
    bert.reply(out, 200, ANSWER)
    bert.hears("ACK")
    ok = anna.hears(180, 200)[1]
    anna.say(anna.within(ok, "BYE"))
    settle(world, 200, 16, "a")


def test_busy_after_the_restart_is_told_as_such(world, anna, bert):
    anna.invite("bert")
    (out,) = bert.hears("INVITE")
    die(world)
    bert.heard()
    bert.reply(out, 486)
    bert.hears("ACK")
    anna.hears(486)
    settle(world, 486, 17, "b")


def test_ringing_can_be_cancelled_after_the_restart(world, anna, bert):
    invite = anna.invite("bert")
    (out,) = bert.hears("INVITE")
    bert.reply(out, 180)
    die(world)
    bert.heard()
    bert.reply(out, 180)
    anna.say(anna.beside(invite, "CANCEL"))
    anna.hears(180, 200, 487)
    bert.hears("CANCEL")
    settle(world, 487, 16, "a")


def test_death_while_media_is_opened_ends_the_call(world, anna, bert):
    anna.invite("bert")
    (out,) = bert.hears("INVITE")
    world.media = lambda effect: None
    bert.reply(out, 200, ANSWER)
    die(world)
    anna.hears(503)
    bert.hears("BYE")
    settle(world, 503, 41, "server")


def test_death_before_the_far_leg_leaves_nothing(world, anna, bert):
    world.media = lambda effect: None
    anna.invite("bert")
    die(world)
    assert world.core.calls() == []
    assert world.empty()
    assert not world.effects(CallEnded)


def test_ended_call_is_not_restored(world, anna, bert):
    _, _, ok = talking(anna, bert)
    anna.say(anna.within(ok, "BYE"))
    die(world)
    assert world.core.calls() == []
    bert.say(bert.within(ok, "BYE"))
    bert.hears(481)


def test_contacts_outlive_the_process(world, anna, bert):
    die(world)
    anna.invite("bert")
    bert.hears("INVITE")
    world.pass_time(3600)
    assert world.core.bindings() == []
