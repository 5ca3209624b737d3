# SPDX-License-Identifier: GPL-3.0-or-later
"""Several that ring at once: our own branches, those of a proxy behind us, and what the caller sees of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sip.effects import Address, AnswerMedia, OfferMedia, UriTarget, UserTarget
from sip.inviting import MAX_EARLY
from sip.message import Request
from tests.sip.conftest import Peer
from tests.sip.talk import ANSWER, HOLD, settle
from tests.sip.test_restore import die

OTHER = ANSWER.replace(b"50000", b"50002")


@pytest.fixture
def second(world, bert):
    """Bert's second phone."""
    phone = Peer(world, "bert", "203.0.113.10")
    assert phone.register(call_id="second").status == 200
    return phone


def test_contacts_of_equal_preference_ring_together(world, anna, bert, second):
    invite = anna.invite("bert")
    (one,), (two,) = bert.hears("INVITE"), second.hears("INVITE")
    assert one.call_id != two.call_id
    assert one.from_.tag != two.from_.tag
    bert.reply(one, 180)
    second.reply(two, 180)
    anna.hears(100, 180, 180)
    second.reply(two, 200, ANSWER, tag="s")
    second.hears("ACK")
    (cancel,) = bert.hears("CANCEL")
    assert cancel.get("Reason") == 'SIP;cause=200;text="Call completed elsewhere"'
    bert.reply(cancel, 200)
    bert.reply(one, 487)
    bert.hears("ACK")
    (ok,) = anna.hears(200)
    anna.say(anna.beside(invite, "ACK", to=str(ok.to), branch="x"))
    anna.say(anna.within(ok, "BYE"))
    second.reply(second.hears("BYE")[0], 200)
    settle(world, 200, 16, "a")


def test_answers_that_cross(world, anna, bert, second):
    """Both answer in the same moment: the first has the call, the second is hung up at once."""
    anna.invite("bert")
    (one,), (two,) = bert.hears("INVITE"), second.hears("INVITE")
    for phone, request in ((bert, one), (second, two)):
        phone.reply(request, 180)
    bert.reply(one, 200, ANSWER)
    second.hears("CANCEL")
    second.reply(two, 200, OTHER)
    second.hears("ACK", "BYE")
    bert.hears("ACK")
    assert [message.status for message in anna.heard()] == [100, 180, 180, 200]


def test_one_busy_phone_does_not_silence_the_other(world, anna, bert, second):
    anna.invite("bert")
    (one,), (two,) = bert.hears("INVITE"), second.hears("INVITE")
    bert.reply(one, 486)
    bert.hears("ACK")
    second.hears()
    second.reply(two, 404)
    anna.hears(100, 486)
    settle(world, 486, 17, "b")


def test_a_declined_call_stops_ringing_everywhere(world, anna, bert, second):
    anna.invite("bert")
    (one,), (two,) = bert.hears("INVITE"), second.hears("INVITE")
    second.reply(two, 180)
    bert.reply(one, 603)
    cancelled = second.hears("CANCEL")
    anna.hears(100, 180, 603)
    second.reply(cancelled[0], 200)
    second.reply(two, 487)
    settle(world, 603, 21, "b")


def test_cancel_reaches_all(world, anna, bert, second):
    invite = anna.invite("bert")
    for phone in (bert, second):
        phone.reply(phone.hears("INVITE")[0], 180)
    anna.say(anna.beside(invite, "CANCEL"))
    bert.hears("CANCEL")
    second.hears("CANCEL")
    settle(world, 487, 16, "a")


def test_lower_preference_waits_its_turn(world, anna, bert):
    late = Peer(world, "bert", "203.0.113.11")
    contact = f"<sip:bert@{late.address.host}:5060>;q=0.3"
    assert late.register(call_id="late", contact=contact).status == 200
    anna.invite("bert")
    (out,) = bert.hears("INVITE")
    late.hears()
    bert.reply(out, 480)
    late.hears("INVITE")


def test_targets_beside_each_other_are_a_ring_group(world, anna, bert):
    outside = Peer(world, "carl", "203.0.113.20")
    world.routes["all"] = (
        UserTarget("bert", ring=20.0),
        UriTarget("sip:carl@203.0.113.20", beside=True),
        UriTarget("sip:night@203.0.113.21"),
    )
    anna.invite("all")
    bert.hears("INVITE")
    outside.hears("INVITE")
    world.pass_time(19)
    assert not any(b"night" in send.data for _, send in world.wire)
    world.pass_time(2)
    night = [send for _, send in world.wire if send.target == Address("203.0.113.21", 5060)]
    assert night[0].data.startswith(b"INVITE sip:night@")


def by_sides(effect):
    """Media that says of each description which side it is of."""
    return effect.sdp + f"a=side-{effect.side or 'first'}\r\n".encode()


@pytest.fixture
def group(world, bert):
    """Bert with two phones, one of them a web page, and carl, whose media is elsewhere: all ring together."""
    carl = Peer(world, "carl", "203.0.113.11")
    page = Peer(world, "bert", "203.0.113.12")
    page.address = Address("203.0.113.12", 40000, "wss", inbound=True)
    assert carl.register().status == page.register(contact="<sip:bert@x.invalid;transport=ws>").status == 200
    world.routes["group"] = (UserTarget("bert", manner="lan"), UserTarget("carl", beside=True, manner="pub"))
    world.media = by_sides
    return bert, page, carl


def test_those_who_need_offers_of_their_own_ring_together(world, anna, group):
    """One who answers is told to media as of its side."""
    bert, page, carl = group
    anna.invite("group")
    invites = [phone.hears("INVITE")[0] for phone in group]
    asked = world.effects(OfferMedia)
    assert [(each.side, each.toward_user, each.toward_transport) for each in asked] == [
        ("", "bert", "wss"), ("1", "bert", "udp"), ("2", "carl", "udp")]  # fmt: skip
    marks = [invite.body.rpartition(b"a=side-")[2].strip() for invite in invites]
    assert marks == [b"1", b"first", b"2"]
    bert.reply(invites[0], 486)
    page.reply(invites[1], 180)
    carl.reply(invites[2], 183, ANSWER)
    carl.reply(invites[2], 200, ANSWER)
    assert page.hears("CANCEL")
    assert {each.side for each in world.effects(AnswerMedia)} == {"2"}
    assert anna.heard()[-1].body.endswith(b"a=side-2\r\n")


def test_whom_media_can_offer_nothing_is_passed_over_and_the_others_ring(world, anna, group):
    bert, page, carl = group
    world.media = lambda effect: (488, "SRTP is required") if effect.side == "" else by_sides(effect)
    anna.invite("group")
    bert.hears("INVITE")
    carl.hears("INVITE")
    page.hears()


def test_they_ring_on_after_a_restart(world, anna, group):
    _, _, carl = group
    anna.invite("group")
    invites = [phone.hears("INVITE")[0] for phone in group]
    die(world)
    carl.reply(invites[2], 200, ANSWER)
    assert [each.side for each in world.effects(AnswerMedia)] == ["2"]


def test_branches_of_a_proxy_have_tags_of_their_own(world, anna, bert):
    invite = anna.invite("bert")
    (out,) = bert.hears("INVITE")
    bert.reply(out, 180, tag="x")
    bert.reply(out, 183, ANSWER, tag="x")
    bert.reply(out, 183, OTHER, tag="y")
    bert.reply(out, 183, ANSWER, tag="x")
    _, ring, one, two, again = anna.hears(100, 180, 183, 183, 183)
    assert ring.to.tag == one.to.tag == again.to.tag != two.to.tag
    assert (one.body, two.body, again.body) == (ANSWER + b"a=via-b\r\n", OTHER + b"a=via-b\r\n", b"")
    bert.reply(out, 200, OTHER, tag="y")
    (ack,) = bert.hears("ACK")
    assert ack.to.tag == "y"
    (ok,) = anna.hears(200)
    assert ok.to.tag == two.to.tag
    bert.reply(out, 200, ANSWER, tag="x")
    ack, bye = bert.hears("ACK", "BYE")
    assert ack.to.tag == bye.to.tag == "x"
    anna.say(anna.beside(invite, "ACK", to=str(ok.to), branch="f"))
    anna.say(anna.within(ok, "BYE"))
    anna.hears(200)
    assert [m.to.tag for m in bert.heard() if isinstance(m, Request) and m.method == "BYE"] == ["y"]


def test_reliable_branches_are_numbered_each_by_itself(world, anna, bert):
    anna.invite("bert", HOLD, ("Supported", "100rel"))
    (out,) = bert.hears("INVITE")
    for tag, number in (("x", 10), ("y", 70), ("x", 11), ("y", 71)):
        bert.reply(out, 180, b"", ("Require", "100rel"), ("RSeq", str(number)), tag=tag)
    pracks = bert.hears(*["PRACK"] * 4)
    assert [(prack.to.tag, prack.get("RAck").split()[0]) for prack in pracks] == [
        ("x", "10"),
        ("y", "70"),
        ("x", "11"),
        ("y", "71"),
    ]


def test_a_fork_has_so_many_branches_and_no_more(world, anna, bert):
    """What rings beyond them is heard of when it answers."""
    anna.invite("bert")
    (out,) = bert.hears("INVITE")
    for number in range(1000):
        bert.reply(out, 183, ANSWER, tag=f"b{number}")
    anna.hears(100, *[183] * MAX_EARLY)
    assert world.core.counts()["dialogs"] <= 2 * MAX_EARLY + 2
    bert.reply(out, 180, tag="b0")
    anna.hears(180)
    bert.reply(out, 200, ANSWER, tag="b999")
    (ack,) = bert.hears("ACK")
    assert ack.to.tag == "b999"
    anna.hears(200)


def test_next_target_after_early_media_is_another_dialog(world, anna, bert):
    world.routes["both"] = (UserTarget("bert"), UriTarget("sip:carl@203.0.113.20"))
    carl = Peer(world, "carl", "203.0.113.20")
    anna.invite("both")
    (out,) = bert.hears("INVITE")
    bert.reply(out, 183, ANSWER)
    bert.reply(out, 503)
    (then,) = carl.hears("INVITE")
    carl.reply(then, 200, OTHER)
    _, early, ok = anna.hears(100, 183, 200)
    assert early.to.tag != ok.to.tag
    assert ok.body == OTHER + b"a=via-b\r\n"


@pytest.mark.parametrize(
    ("status", "tried"),
    [(486, "sip:busy@203.0.113.20"), (480, "sip:noanswer@203.0.113.20"), (603, None), (500, "sip:any@203.0.113.20")],
)
def test_targets_for_the_busy_and_for_those_who_do_not_answer(world, anna, bert, status, tried):
    world.routes["bert"] = (
        UserTarget("bert"),
        UriTarget("sip:busy@203.0.113.20", after="busy"),
        UriTarget("sip:noanswer@203.0.113.20", after="no_answer"),
        *([UriTarget("sip:any@203.0.113.20")] if status == 500 else []),
    )
    anna.invite("bert")
    bert.reply(bert.hears("INVITE")[0], status)
    voicemail = Peer(world, "any", "203.0.113.20").heard()
    assert [message.uri for message in voicemail] == ([tried] if tried else [])


def test_user_without_contacts_does_not_answer(world, anna):
    world.routes["x"] = (UserTarget("nobody"), UriTarget("sip:mail@203.0.113.20", after="no_answer"))
    anna.invite("x")
    assert Peer(world, "mail", "203.0.113.20").hears("INVITE")


@pytest.fixture
def deflecting(world, anna):
    """Two who ring together in a call of Anna's, and the third to whom the first of them deflects it."""
    world.settings = replace(world.settings, redirections=1)
    world.core = world.fresh_core()
    peers = [Peer(world, name, f"203.0.113.{40 + place}") for place, name in enumerate(("bert", "carl", "dora"))]
    world.passwords["dora"] = "pd"
    assert all(peer.register().status == 200 for peer in peers)
    world.routes["1"] = (UserTarget("bert"), UserTarget("carl", beside=True), UserTarget("bert"))
    anna.invite("1")
    return peers


def deflect(peer, request):
    peer.reply(request, 302, b"", ("Contact", "<sip:dora@example.org>"))


@pytest.mark.parametrize("first", ["busy", "deflecting"])
def test_a_busy_member_does_not_end_what_another_deflects(anna, deflecting, first):
    bert, carl, dora = deflecting
    (one,), (two,) = bert.hears("INVITE"), carl.hears("INVITE")
    if first == "busy":
        carl.reply(two, 486)
        deflect(bert, one)
    else:
        deflect(bert, one)
        dora.hears()
        carl.reply(two, 486)
    dora.reply(dora.hears("INVITE")[0], 200, ANSWER)
    assert anna.heard()[-1].status == 200


def test_whoever_rings_on_may_answer_what_another_deflects(anna, deflecting):
    bert, carl, dora = deflecting
    deflect(bert, bert.hears("INVITE")[0])
    carl.reply(carl.hears("INVITE")[0], 200, ANSWER)
    assert anna.heard()[-1].status == 200
    dora.hears()


def test_what_is_deflected_is_followed_when_the_others_rang_too_long(world, anna, deflecting):
    bert, carl, dora = deflecting
    deflect(bert, bert.hears("INVITE")[0])
    carl.reply(carl.hears("INVITE")[0], 180)
    world.pass_time(180)
    carl.hears("CANCEL")
    dora.hears("INVITE")


def test_after_a_busy_member_and_a_deflection_nobody_else_is_tried(anna, deflecting):
    bert, carl, dora = deflecting
    carl.reply(carl.hears("INVITE")[0], 486)
    deflect(bert, bert.hears("INVITE")[0])
    bert.hears("ACK")
    dora.reply(dora.hears("INVITE")[0], 404)
    bert.hears()
    assert anna.heard()[-1].status == 486


def test_who_declines_ends_what_another_deflects(anna, deflecting):
    bert, carl, dora = deflecting
    deflect(bert, bert.hears("INVITE")[0])
    carl.reply(carl.hears("INVITE")[0], 603)
    dora.hears()
    assert anna.heard()[-1].status == 603
