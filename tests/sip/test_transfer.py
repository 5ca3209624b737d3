# SPDX-License-Identifier: GPL-3.0-or-later
"""REFER: blind and attended transfers, their progress, their failures, and INVITE with Replaces."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from sip.call_table import CallState
from sip.effects import CallEnded, FindRoute, UserTarget
from sip.message import Request
from tests.sip.conftest import OFFER, Peer
from tests.sip.talk import ANSWER, HOLD
from tests.sip.test_trunks import carrier

CARL = ANSWER.replace(b"50000", b"60000")


@pytest.fixture
def carl(world):
    peer = Peer(world, "carl", "203.0.113.30")
    assert peer.register().status == 200
    return peer


def refer(peer, last, target="sip:carl@example.org", *extra):
    request = peer.within(last, "REFER", ("Refer-To", f"<{target}>"), *extra)
    peer.say(request)
    return request


def notified(peer, *statuses):
    """The statuses that the NOTIFYs to a peer told; it answers each."""
    notifies = [message for message in peer.heard() if isinstance(message, Request)]
    assert {message.method for message in notifies} <= {"NOTIFY"}
    for notify in notifies:
        peer.reply(notify, 200)
    assert tuple(int(notify.body.split()[1]) for notify in notifies) == statuses
    return notifies


def takes(peer, sdp, *methods):
    """Answer the INVITE that came; whatever else did must be `methods`."""
    messages = peer.heard()
    (invite,) = [message for message in messages if isinstance(message, Request) and message.method == "INVITE"]
    assert [message.method for message in messages if message is not invite] == list(methods)
    peer.reply(invite, 200, sdp)
    return invite


@pytest.mark.parametrize("by", ["a", "b"])
def test_blind_transfer(world, anna, bert, carl, talk, by):
    referrer, moved, last = (anna, bert, talk.ok) if by == "a" else (bert, anna, talk.out)
    refer(referrer, last)
    accepted, first = referrer.hears(202, "NOTIFY")
    assert accepted.contacts
    assert first.get("Event") == f"refer;id={accepted.cseq.number}"
    assert (first.content_type, first.body) == ("message/sipfrag", b"SIP/2.0 100 Trying\r\n")
    assert first.get("Subscription-State").startswith("active")
    (route,) = world.effects(FindRoute)
    assert (route.caller, route.dialled, route.diverted) == (referrer.user, "carl", referrer.user)
    (out,) = carl.hears("INVITE")
    assert out.from_.uri.user == moved.user
    assert out.get("Referred-By") == f"<sip:{referrer.user}@example.org>"
    moved_said = ANSWER if by == "a" else OFFER.replace(b"a=sendrecv\r\n", b"")
    assert out.body.split(b"m=")[1] == (moved_said + b"a=via-a\r\n").split(b"m=")[1]
    carl.reply(out, 180)
    notified(referrer, 180)
    carl.reply(out, 200, CARL)
    carl.hears("ACK")
    reinvite = takes(moved, HOLD)
    assert reinvite.body == CARL + b"a=via-b\r\n"
    moved.hears("ACK")
    (done, bye) = referrer.hears("NOTIFY", "BYE")
    assert (done.body, done.get("Subscription-State")) == (b"SIP/2.0 200 OK\r\n", "terminated;reason=noresource")
    referrer.reply(bye, 200)
    (view,) = world.core.calls()
    assert (view.state, view.caller, view.dialled) == (CallState.TALKING, referrer.user, "carl")
    moved.say(moved.within(reinvite, "BYE"))
    carl.reply(carl.hears("BYE")[0], 200)
    world.pass_time(70)
    assert world.empty(), world.core.counts()
    first, second = world.ended()
    assert (first.dialled, first.reason, first.cause) == ("bert", "Transferred", 16)
    assert (second.caller, second.dialled, second.status, second.ended_by) == (referrer.user, "carl", 200, "a")


def test_referrer_that_leaves_at_once(world, anna, bert, carl, talk):
    refer(anna, talk.ok)
    anna.hears(202, "NOTIFY")
    anna.say(anna.within(talk.ok, "BYE"))
    anna.hears(200)
    bert.hears()
    carl.reply(carl.hears("INVITE")[0], 200, CARL)
    carl.hears("ACK")
    takes(bert, HOLD)
    bert.hears("ACK")
    anna.hears()
    assert [view.dialled for view in world.core.calls()] == ["carl"]


def test_target_that_is_busy_leaves_the_call(world, anna, bert, carl, talk):
    refer(anna, talk.ok)
    anna.hears(202, "NOTIFY")
    carl.reply(carl.hears("INVITE")[0], 486)
    carl.hears("ACK")
    (failed,) = notified(anna, 486)
    assert failed.body == b"SIP/2.0 486 Busy Here\r\n"
    bert.hears()
    (view,) = world.core.calls()
    assert (view.state, view.dialled) == (CallState.TALKING, "bert")
    bert.say(bert.within(talk.out, "BYE"))
    anna.reply(anna.hears("BYE")[0], 200)
    world.pass_time(70)
    assert world.empty()
    assert [(end.dialled, end.status) for end in world.ended()] == [("carl", 486), ("bert", 200)]


def test_target_that_is_busy_after_the_referrer_left(world, anna, bert, carl, talk):
    refer(anna, talk.ok)
    anna.say(anna.within(talk.ok, "BYE"))
    carl.reply(carl.hears("INVITE")[0], 486)
    bert.reply(bert.hears("BYE")[0], 200)
    world.pass_time(70)
    assert world.empty(), world.core.counts()
    assert len(world.ended()) == 2


def test_moved_party_that_hangs_up_meanwhile(world, anna, bert, carl, talk):
    refer(anna, talk.ok)
    anna.hears(202, "NOTIFY")
    (out,) = carl.hears("INVITE")
    carl.reply(out, 180)
    bert.say(bert.within(talk.out, "BYE"))
    bert.hears(200)
    carl.hears("CANCEL")
    carl.reply(out, 487)
    assert [message.method for message in anna.heard()] == ["NOTIFY", "NOTIFY", "BYE"]
    world.pass_time(70)
    assert world.empty(), world.core.counts()


def test_moved_party_that_refuses_the_new_peer(world, anna, bert, carl, talk):
    refer(anna, talk.ok)
    anna.hears(202, "NOTIFY")
    carl.reply(carl.hears("INVITE")[0], 200, CARL)
    bert.reply(bert.hears("INVITE")[0], 488)
    bert.heard()
    carl.hears("ACK", "BYE")
    notified(anna, 488)
    (view,) = [view for view in world.core.calls() if view.state != CallState.ENDED]
    assert (view.state, view.dialled) == (CallState.TALKING, "bert")


def test_route_that_is_refused(world, anna, bert, talk):
    world.routes["secret"] = (403, "Forbidden")
    refer(anna, talk.ok, "sip:secret@example.org")
    accepted, trying, failed = anna.hears(202, "NOTIFY", "NOTIFY")
    assert failed.body == b"SIP/2.0 403 Forbidden\r\n"
    assert accepted.status == 202
    assert trying.body
    bert.hears()
    assert [view.dialled for view in world.core.calls()] == ["bert"]


def test_transfer_without_reports(world, anna, bert, carl, talk):
    refer(anna, talk.ok, "sip:carl@example.org", ("Refer-Sub", "false"), ("Supported", "norefersub"))
    (accepted,) = anna.hears(202)
    assert accepted.get("Refer-Sub") == "false"
    carl.hears("INVITE")


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ("http://carl.example", 416),
        ("sips:carl@example.org", 416),
        ("sip:carl@example.org;method=BYE", 501),
        ("nonsense", 400),
    ],
)
def test_what_cannot_be_called(world, anna, bert, talk, value, status):
    anna.say(anna.within(talk.ok, "REFER", ("Refer-To", f"<{value}>")))
    anna.hears(status)
    assert world.core.calls()[0].state == CallState.TALKING


def test_refer_without_target(world, anna, bert, talk):
    anna.say(anna.within(talk.ok, "REFER"))
    anna.hears(400)


@pytest.mark.parametrize("by", ["a", "b"])
@pytest.mark.parametrize("may", [True, False])
def test_a_trunk_transfers_where_it_may_and_as_itself(world, anna, bert, carl, may, by):
    """Whoever it transfers, the new call is one from that trunk, and goes nowhere else."""
    host, _ = carrier(world, refer=may)
    if by == "b":
        invite = anna.invite("49301")
        (last,) = host.hears("INVITE")
        host.reply(last, 200, ANSWER)
        host.hears("ACK")
        ok = anna.heard()[-1]
        anna.say(anna.beside(invite, "ACK", to=str(ok.to), branch="up"))
    else:
        invite = host.request("INVITE", "sip:bert@198.51.100.1", sdp=HOLD)
        host.say(invite)
        bert.reply(bert.hears("INVITE")[0], 200, ANSWER)
        last = host.heard()[-1]
        host.say(host.beside(invite, "ACK", to=str(last.to), branch="up"))
    world.log.clear()
    refer(host, last)
    assert host.heard()[0].status == (202 if may else 403)
    asked = [(route.trunk, route.diverted, route.dialled) for route in world.effects(FindRoute)]
    assert asked == ([("carrier", "", "carl")] if may else [])
    assert [message.method for message in carl.heard()] == (["INVITE"] if may else [])


@pytest.mark.parametrize(("name", "told"), [("a%3Eb%22%20c", "a%3Eb%22%20c@"), ("a%0D%0AX", ""), ("%C3%A4", "%C3%A4@")])
def test_a_referrer_of_any_name_is_named_as_a_uri_can(world, bert, carl, name, told):
    host, _ = carrier(world, refer=True)
    invite = host.request("INVITE", "sip:bert@198.51.100.1", sdp=HOLD)
    invite = invite.replaced("From", [f"<sip:{name}@carrier.example>;tag=odd"])
    host.say(invite)
    bert.reply(bert.hears("INVITE")[0], 200, ANSWER)
    ok = host.heard()[-1]
    host.say(host.beside(invite, "ACK", to=str(ok.to), branch="up"))
    refer(host, ok)
    (out,) = carl.hears("INVITE")
    assert out.get("Referred-By") == f"<sip:{told}example.org>"


def test_refer_during_a_change_waits(world, anna, bert, carl, talk):
    bert.say(bert.within(talk.out, "INVITE", sdp=HOLD))
    refer(anna, talk.ok)
    assert anna.heard()[-1].status == 491


def consult(world, anna, bert, carl, call_id="consult"):
    """Anna, who talks to Bert, puts him on hold and calls Carl; what she heard and he did."""
    invite = anna.request("INVITE", "sip:carl@example.org", sdp=HOLD, call_id=call_id, from_tag="anna2")
    anna.say(invite)
    invite = anna.authorized(invite, anna.hears(407)[0])
    anna.say(invite)
    (out,) = carl.hears("INVITE")
    carl.reply(out, 200, CARL)
    carl.hears("ACK")
    ok = anna.heard()[-1]
    anna.say(anna.beside(invite, "ACK", to=str(ok.to), branch="consult"))
    world.log.clear()
    return ok, out


def replaces(ok):
    return quote(f"{ok.call_id};to-tag={ok.to.tag};from-tag={ok.from_.tag}", safe="")


def test_attended_transfer(world, anna, bert, carl, talk):
    ok, out = consult(world, anna, bert, carl)
    refer(anna, talk.ok, f"sip:carl@example.org?Replaces={replaces(ok)}")
    anna.hears(202, "NOTIFY")
    assert not world.effects(FindRoute)
    toward_carl = takes(carl, CARL)
    assert toward_carl.to.tag == "carl-tag"
    assert toward_carl.body == ANSWER + b"a=via-a\r\n"
    carl.hears("ACK")
    toward_bert = takes(bert, HOLD)
    bert.hears("ACK")
    done, *byes = anna.hears("NOTIFY", "BYE", "BYE")
    assert done.body == b"SIP/2.0 200 OK\r\n"
    assert {bye.call_id for bye in byes} == {"anna-call", "consult"}
    for bye in byes:
        anna.reply(bye, 200)
    (view,) = world.core.calls()
    assert (view.state, view.a.call_id, view.b.call_id) == (CallState.TALKING, talk.out.call_id, out.call_id)
    bert.say(bert.within(toward_bert, "INVITE", sdp=HOLD))
    assert takes(carl, CARL)
    bert.heard()
    carl.heard()
    carl.say(carl.within(toward_carl, "BYE"))
    world.pass_time(70)
    assert world.empty(), world.core.counts()
    assert len({end.call for end in world.ended()}) == len(world.ended()) == 3


def test_attended_transfer_that_the_target_refuses(world, anna, bert, carl, talk):
    ok, _ = consult(world, anna, bert, carl)
    refer(anna, talk.ok, f"sip:carl@example.org?Replaces={replaces(ok)}")
    carl.reply(carl.hears("INVITE")[0], 488)
    assert anna.heard()[-1].body == b"SIP/2.0 488 Not Acceptable Here\r\n"
    bert.hears()
    assert [view.state for view in world.core.calls()] == [CallState.TALKING, CallState.TALKING]


def test_attended_transfer_that_the_moved_party_refuses_is_undone(world, anna, bert, carl, talk):
    ok, out = consult(world, anna, bert, carl)
    refer(anna, talk.ok, f"sip:carl@example.org?Replaces={replaces(ok)}")
    before = out.body
    takes(carl, CARL)
    carl.hears("ACK")
    bert.reply(bert.hears("INVITE")[0], 488)
    back = takes(carl, CARL)
    assert back.body.split(b"m=")[1] == before.split(b"m=")[1]
    carl.hears("ACK")
    assert sorted(view.state for view in world.core.calls()) == [CallState.TALKING, CallState.TALKING]


def test_transfer_to_somebody_elses_call(world, anna, bert, carl, talk):
    dora = Peer(world, "dora", "203.0.113.40")
    world.passwords["dora"] = "pd"
    ok, _ = consult(world, dora, bert, carl)
    refer(anna, talk.ok, f"sip:carl@example.org?Replaces={replaces(ok)}")
    anna.hears(403)


@pytest.mark.parametrize("value", ["x%3Bto-tag%3Da%3Bfrom-tag%3Db", "x"])
def test_transfer_to_a_call_that_is_not_there(world, anna, bert, talk, value):
    refer(anna, talk.ok, f"sip:carl@example.org?Replaces={value}")
    anna.hears(481 if "tag" in value else 400)


def test_invite_that_replaces_a_party(world, anna, bert, carl, talk):
    """Carl takes Bert's place in the call with Anna."""
    value = f"{talk.out.call_id};to-tag={talk.out.from_.tag};from-tag=bert-tag"
    invite = carl.invite("anna", CARL, ("Replaces", value))
    reinvite = takes(anna, HOLD)
    assert reinvite.body == CARL + b"a=via-a\r\n"
    anna.hears("ACK")
    ok = carl.heard()[-1]
    assert (ok.status, ok.body) == (200, HOLD + b"a=via-b\r\n")
    carl.say(carl.beside(invite, "ACK", to=str(ok.to), branch="r"))
    bert.reply(bert.hears("BYE")[0], 200)
    (view,) = world.core.calls()
    assert (view.state, view.caller) == (CallState.TALKING, "carl")
    assert [effect.reason for effect in world.effects(CallEnded)] == ["Transferred"]
    anna.say(anna.within(reinvite, "BYE"))
    carl.hears("BYE")
    world.pass_time(70)
    assert world.empty(), world.core.counts()


def test_who_would_replace_an_early_dialog_alone_gets_no_other(world, anna, bert, carl, talk):
    """RFC 3891 §3: a pick-up that comes after the answer must not take the call away."""
    value = f"{talk.out.call_id};to-tag={talk.out.from_.tag};from-tag=bert-tag;early-only"
    carl.invite("anna", CARL, ("Replaces", value))
    carl.hears(486)
    carl.invite("anna", CARL, ("Replaces", "x;to-tag=a;from-tag=b;early-only"), call_id="again")
    carl.hears(481)
    ok, _ = consult(world, anna, bert, carl)
    refer(anna, talk.ok, f"sip:carl@example.org?Replaces={replaces(ok)}%3Bearly-only")
    anna.hears(486)
    anna.hears()
    assert sorted(view.state for view in world.core.calls()) == [CallState.TALKING, CallState.TALKING]


def test_invite_that_replaces_nothing(world, anna, bert, carl):
    carl.invite("anna", CARL, ("Replaces", "x;to-tag=a;from-tag=b"))
    carl.hears(481)
    assert not world.ended()


def send_on(world, leg, target="carl"):
    """We ourselves transfer one leg of the call; returns the views of all calls then."""
    (call,) = world.core.calls()
    world.run(world.core.send_on(call.id, leg, "made", (UserTarget(target),), target, "anna", world.now))
    return {view.id: view for view in world.core.calls()}


@pytest.mark.parametrize("leg", ["a", "b"])
def test_we_send_a_party_on_ourselves(world, anna, bert, carl, talk, leg):
    moved, dropped = (anna, bert) if leg == "a" else (bert, anna)
    assert set(send_on(world, leg)) > {"made"}
    (out,) = carl.hears("INVITE")
    assert out.from_.uri.user == moved.user
    anna.hears()
    bert.hears()
    carl.reply(out, 200, CARL)
    carl.hears("ACK")
    takes(moved, HOLD)
    moved.hears("ACK")
    dropped.reply(dropped.hears("BYE")[0], 200)
    (view,) = world.core.calls()
    assert (view.id, view.state, view.dialled) == ("made", CallState.TALKING, "carl")


def test_a_party_that_we_cannot_send_on_talks_on(world, anna, bert, carl, talk):
    (before,) = world.core.calls()
    send_on(world, "a")
    carl.reply(carl.hears("INVITE")[0], 486)
    carl.hears("ACK")
    world.pass_time(1)
    (after,) = world.core.calls()
    assert (after.id, after.state) == (before.id, CallState.TALKING)
    anna.hears()
    bert.say(bert.within(talk.out, "INVITE", sdp=HOLD))
    assert "made" not in send_on(world, "a"), "something is under way"
