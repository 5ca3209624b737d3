# SPDX-License-Identifier: GPL-3.0-or-later
"""A caller whom we ourselves answer, who hears us until somebody takes the call; and calls that we begin."""

from __future__ import annotations

import json

import pytest

from sip.call_table import CallState
from sip.effects import (
    Address,
    AnswerMedia,
    AttendMedia,
    CallEnded,
    Joined,
    OfferMedia,
    RevertMedia,
    SaveCall,
    ServiceTarget,
    Unreached,
    UserTarget,
    Waiting,
)
from tests.sip.conftest import OFFER, Peer, World
from tests.sip.talk import settle

HOUSE = b"v=0\r\no=- 1 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\n"
ALAW = HOUSE + b"m=audio 30000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"
ULAW = ALAW.replace(b"AVP 8", b"AVP 0")
ANSWER = HOUSE.replace(b"198.51.100.1", b"203.0.113.9") + b"m=audio 50000 RTP/AVP 8\r\n"


def media(effect):
    """The house speaks A-law; what one leg says comes to the other as from our own port."""
    match effect:
        case AttendMedia():
            return ALAW
        case OfferMedia():
            return effect.sdp.replace(b"192.0.2.7", b"198.51.100.1")
        case AnswerMedia():
            return ULAW if b"AVP 0" in effect.sdp else ALAW
    return b""


@pytest.fixture
def waiting(world: World) -> World:
    world.media = media
    world.routes["sales"] = (ServiceTarget("sales@1"),)
    return world


@pytest.fixture
def call(waiting, anna):
    return enter(waiting, anna)


def enter(world, anna, sdp=OFFER, ack=b""):
    """Anna calls the queue and is answered; returns the call's id and her 200."""
    invite = anna.invite("sales", sdp)
    trying, ok = anna.hears(100, 200)
    assert trying
    anna.say(anna.beside(invite, "ACK", to=str(ok.to), branch="queue", sdp=ack))
    (waits,) = world.effects(Waiting)
    assert (waits.service, waits.caller, waits.trunk) == ("sales@1", "anna", "")
    (view,) = world.core.calls()
    assert (view.id, view.state, view.service, view.b) == (waits.call, CallState.WAITING, "sales@1", None)
    return waits.call, ok


def connect(world, call, *targets, peer="agent"):
    world.run(world.core.connect(call, targets or (UserTarget("bert", ring=15),), world.now, peer))


def test_an_agent_takes_the_call_and_the_caller_hears_of_no_new_media(waiting, anna, bert, call):
    identity, ok = call
    waiting.pass_time(5)
    connect(waiting, identity)
    (invite,) = bert.hears("INVITE")
    assert invite.from_.uri.user == "anna"
    assert b"RTP/AVP 8 101\r\n" in invite.body, "what was agreed with the caller, and no other codec"
    bert.reply(invite, 180)
    anna.hears()
    bert.reply(invite, 200, ANSWER)
    bert.hears("ACK")
    anna.hears()
    assert waiting.effects(Joined) == [Joined(identity, "agent")]
    (view,) = waiting.core.calls()
    assert (view.state, view.peer, view.joined) == (CallState.TALKING, "agent", waiting.now)
    anna.say(anna.within(ok, "BYE"))
    anna.hears(200)
    bert.reply(bert.hears("BYE")[0], 200)
    settle(waiting, 200, 16, "a")
    (end,) = waiting.ended()
    assert (end.service, end.waited, end.joined, end.peer) == ("sales@1", 5.0, True, "agent")
    assert end.b_call_id


def test_all_that_the_caller_has_is_offered_to_an_agent_who_refuses_the_rest(waiting, anna, bert, call):
    identity, _ = call
    connect(waiting, identity)
    (invite,) = bert.hears("INVITE")
    bert.reply(invite, 488)
    _, again = bert.hears("ACK", "INVITE")
    assert b"RTP/AVP 9 8 0 101\r\n" in again.body
    bert.reply(again, 200, ANSWER.replace(b"AVP 8", b"AVP 0"))
    bert.hears("ACK")
    (change,) = anna.hears("INVITE")
    assert b"RTP/AVP 0 101" in change.body
    anna.reply(change, 200, OFFER)
    anna.hears("ACK")
    assert [view.state for view in waiting.core.calls()] == [CallState.TALKING]


@pytest.mark.parametrize("how", ["busy", "silent", "nobody", "given up"])
def test_who_cannot_be_reached_leaves_the_caller_waiting(waiting, anna, bert, call, how):
    identity, ok = call
    connect(waiting, identity, *((UserTarget("carl"),) if how == "nobody" else ()))
    if how != "nobody":
        (invite,) = bert.hears("INVITE")
        if how == "busy":
            bert.reply(invite, 486)
            bert.hears("ACK")
        else:
            bert.reply(invite, 180)
            if how == "silent":
                waiting.pass_time(15)
            else:
                waiting.run(waiting.core.give_up(identity, waiting.now))
            (cancel,) = bert.hears("CANCEL")
            bert.reply(cancel, 200)
            bert.reply(invite, 487)
            bert.hears("ACK")
    expected = {"busy": [486], "silent": [480], "nobody": [480], "given up": []}[how]
    assert [each.status for each in waiting.effects(Unreached)] == expected
    assert len(waiting.effects(RevertMedia)) == (how != "nobody")
    (view,) = waiting.core.calls()
    assert (view.state, view.b) == (CallState.WAITING, None)
    anna.hears()
    anna.say(anna.within(ok, "BYE"))
    anna.hears(200)
    settle(waiting, 200, 16, "a")
    (end,) = waiting.ended()
    assert (end.joined, end.b_call_id, end.peer) == (False, None, "")


def test_the_caller_goes_while_the_agent_rings(waiting, anna, bert, call):
    identity, ok = call
    connect(waiting, identity)
    (invite,) = bert.hears("INVITE")
    bert.reply(invite, 180)
    anna.say(anna.within(ok, "BYE"))
    anna.hears(200)
    bert.reply(bert.hears("CANCEL")[0], 200)
    bert.reply(invite, 487)
    bert.hears("ACK")
    settle(waiting, 200, 16, "a")


def test_media_that_refuses_the_agent_leaves_the_caller_waiting(waiting, anna, bert, call):
    identity, _ = call
    waiting.media = lambda effect: (488, "Not Acceptable Here") if isinstance(effect, AnswerMedia) else media(effect)
    connect(waiting, identity)
    (invite,) = bert.hears("INVITE")
    bert.reply(invite, 200, ANSWER)
    bert.hears("ACK", "BYE")
    assert [each.status for each in waiting.effects(Unreached)] == [488]
    assert [view.state for view in waiting.core.calls()] == [CallState.WAITING]


def test_one_who_waits_may_change_its_media(waiting, anna, call):
    _, ok = call
    for method in ("INVITE", "UPDATE"):
        change = anna.within(ok, method, sdp=OFFER.replace(b"sendrecv", b"sendonly"))
        anna.say(change)
        answers = anna.heard()
        assert answers[-1].status == 200
        assert answers[-1].body.endswith(ALAW[-60:])
        if method == "INVITE":
            anna.say(anna.beside(change, "ACK", to=str(answers[-1].to), branch="again"))
        assert [view.state for view in waiting.core.calls()] == [CallState.WAITING]
    waiting.media = lambda effect: (488, "Not Acceptable Here")
    change = anna.within(ok, "INVITE", sdp=OFFER)
    anna.say(change)
    anna.hears(100, 488)
    assert [view.state for view in waiting.core.calls()] == [CallState.WAITING]
    assert len(waiting.effects(Waiting)) == 1


def test_an_invite_without_an_offer_is_offered_ours(waiting, anna, bert):
    identity, ok = enter(waiting, anna, sdp=b"", ack=ANSWER)
    assert ok.body.endswith(ALAW[-60:])
    connect(waiting, identity)
    (invite,) = bert.hears("INVITE")
    assert b"RTP/AVP 8\r\n" in invite.body
    bert.reply(invite, 200, ANSWER)
    bert.hears("ACK")


def test_a_queue_that_does_not_answer_is_heard_in_a_183(waiting, anna, bert):
    waiting.routes["sales"] = (ServiceTarget("sales@1", early=True),)
    invite = anna.invite("sales")
    _, progress = anna.hears(100, 183)
    assert progress.body
    (waits,) = waiting.effects(Waiting)
    waiting.pass_time(130)
    anna.hears(183, 183)
    connect(waiting, waits.call)
    (out,) = bert.hears("INVITE")
    bert.reply(out, 200, ANSWER)
    bert.hears("ACK")
    (ok,) = anna.hears(200)
    anna.say(anna.beside(invite, "ACK", to=str(ok.to), branch="early"))
    (view,) = waiting.core.calls()
    assert (view.state, view.answered) == (CallState.TALKING, waiting.now)


def test_a_caller_whom_nothing_answered_can_cancel(waiting, anna):
    waiting.routes["sales"] = (ServiceTarget("sales@1", early=True),)
    invite = anna.invite("sales")
    anna.hears(100, 183)
    waiting.pass_time(3)
    anna.say(anna.beside(invite, "CANCEL"))
    assert sorted(message.status for message in anna.heard()) == [200, 487]
    settle(waiting, 487, 16, "a")


def test_a_user_who_does_not_answer_leads_to_the_queue(waiting, anna, bert):
    waiting.routes["sales"] = (UserTarget("bert", ring=10), ServiceTarget("sales@1", after="no_answer"))
    anna.invite("sales")
    bert.reply(bert.hears("INVITE")[0], 180)
    waiting.pass_time(10)
    assert [message.status for message in anna.heard()] == [100, 180, 200]
    bert.hears("CANCEL")


def test_one_who_is_sent_on_may_come_to_another_queue(waiting, anna, call):
    identity, _ = call
    connect(waiting, identity, UserTarget("carl"), ServiceTarget("support@1"))
    assert [each.service for each in waiting.effects(Waiting)] == ["sales@1", "support@1"]
    assert [(view.state, view.service) for view in waiting.core.calls()] == [(CallState.WAITING, "support@1")]


def test_a_call_of_ours_waits_once_it_is_answered(waiting, bert, anna):
    assert anna.register().status == 200
    waiting.run(waiting.core.originate("c9", (UserTarget("bert"),), waiting.now, "bert", "+331", "back@1"))
    (invite,) = bert.hears("INVITE")
    assert invite.from_.uri.user == "+331"
    assert invite.body.endswith(ALAW[-60:])
    bert.reply(invite, 180)
    assert waiting.core.call("c9").state == CallState.CALLING
    bert.reply(invite, 200, ANSWER)
    bert.hears("ACK")
    assert [(each.call, each.service) for each in waiting.effects(Waiting)] == [("c9", "back@1")]
    connect(waiting, "c9", UserTarget("anna"), peer="customer")
    (out,) = anna.hears("INVITE")
    anna.reply(out, 200, ANSWER.replace(b"50000", b"40000"))
    anna.hears("ACK")
    bert.hears()
    assert waiting.core.call("c9").state == CallState.TALKING
    bert.say(bert.within(invite, "BYE"))
    bert.hears(200)
    anna.reply(anna.hears("BYE")[0], 200)
    settle(waiting, 200, 16, "a")


def test_a_call_of_ours_that_nobody_answers_ends(waiting, bert):
    waiting.run(waiting.core.originate("c9", (UserTarget("bert"),), waiting.now, "bert", "+331", "back@1"))
    bert.reply(bert.hears("INVITE")[0], 486)
    bert.hears("ACK")
    settle(waiting, 486, 17, "b")
    assert not waiting.effects(Waiting)


def saved(world):
    """What the journal holds of the call, as JSON."""
    return json.loads(json.dumps(world.effects(SaveCall)[-1].state))


@pytest.mark.parametrize("ringing", [False, True])
def test_one_who_waits_goes_on_waiting_after_a_restart(waiting, anna, bert, call, ringing):
    identity, ok = call
    if ringing:
        connect(waiting, identity)
        (invite,) = bert.hears("INVITE")
        bert.reply(invite, 180)
    state = saved(waiting)
    waiting.core = waiting.fresh_core()
    waiting.run(waiting.core.restore_call(state, waiting.now))
    bert_again = Peer(waiting, "bert", "203.0.113.9")
    if ringing:
        bert.hears("INVITE")
    else:
        assert bert_again.register().status == 200
        connect(waiting, identity)
        (invite,) = bert.hears("INVITE")
    bert.reply(invite, 200, ANSWER)
    bert.hears("ACK")
    assert waiting.core.call(identity).state == CallState.TALKING
    anna.say(anna.within(ok, "BYE"))
    anna.hears(200)
    bert.reply(bert.hears("BYE")[0], 200)
    settle(waiting, 200, 16, "a")
    assert waiting.effects(CallEnded)[0].service == "sales@1"


def test_an_agent_reached_by_nothing_that_can_be_sent_is_passed_over(waiting, call):
    identity, _ = call
    waiting.run(waiting.core.connect(identity, (), waiting.now, "agent"))
    assert [each.status for each in waiting.effects(Unreached)] == [480]
    assert Address("", 0) not in {effect.target for _, effect in waiting.wire}
