# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages that few send, and that are legal, or nearly: each is answered as its RFC says, and the call goes on."""

from __future__ import annotations

import pytest

from sip.agent import ALLOW
from sip.build import response_to
from sip.call_table import CallState
from sip.effects import FindRoute
from sip.message import Request
from tests.sip.conftest import OFFER
from tests.sip.talk import ANSWER, HOLD, settle

FOLDED = b"""OPTIONS SIP:example.org SIP/2.0\r
v: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bKa;rport, SIP/2.0/TCP\r
  first.example.com: 4000;branch=z9hG4bKb;ttl=16 ,SIP / 2.0 / UDP 192.0.2.4\r
f: "a, \\"b\\" <c>" <sip:a%6ena@example.org> ; tag = 9\r
t:\r
 sip:example.org\r
i: x@y\r
CSeq:  00000012   OPTIONS\r
s:\r
k:\r
Accept: */*;q=0.1, application/sdp\r
Max-Forwards: 0\r
l: 0\r
\r
"""


def test_a_request_in_the_oddest_spelling_is_answered(world, anna):
    world.receive(FOLDED, anna.address)
    (answer,) = anna.hears(200)
    hosts = [("10.0.0.9", 5060), ("first.example.com", 4000), ("192.0.2.4", 5060)]
    assert [via.sent_by for via in answer.vias] == hosts
    assert answer.via.params.get("received") == "192.0.2.7"
    assert answer.via.params.get("rport") == "5060"
    assert answer.get("From") == '"a, \\"b\\" <c>" <sip:a%6ena@example.org> ; tag = 9'
    assert answer.to.tag


def body(request, kind, content):
    """The same with a body of that type."""
    fields = [field for field in request.fields() if field[0] != "Content-Length"]
    return Request(request.method, request.uri, [*fields, ("Content-Type", kind)], content)


@pytest.mark.parametrize(
    ("method", "extra", "status", "said"),
    [
        ("PRACK", ("RAck", "1 1 INVITE"), 481, {}),
        ("PRACK", ("Subject", "no RAck"), 481, {}),
        ("INFO", ("Info-Package", "foo"), 469, {"Recv-Info": ""}),
        ("SUBSCRIBE", ("Event", "dialog"), 405, {"Allow": ", ".join(ALLOW)}),
        ("NOTIFY", ("Event", "refer"), 405, {"Allow": ", ".join(ALLOW)}),
        ("MESSAGE", ("Subject", "hello"), 405, {"Allow": ", ".join(ALLOW)}),
        ("PUBLISH", ("Event", "presence"), 405, {"Allow": ", ".join(ALLOW)}),
        ("BREW", ("Subject", "tea"), 501, {}),
        ("OPTIONS", ("Accept", "text/plain"), 200, {"Allow": ", ".join(ALLOW), "Accept": "application/sdp"}),
        ("UPDATE", ("Supported", ""), 200, {"Contact": "<sip:198.51.100.1:5060>"}),
        ("INVITE", ("Require", "foo"), 420, {"Unsupported": "foo"}),
        ("BYE", ("Require", "timer, Foo"), 420, {"Unsupported": "Foo"}),
        ("REGISTER", ("Expires", "0"), 403, {}),
        ("REFER", ("Refer-To", "<mailto:a@b>"), 416, {}),
        ("CANCEL", ("Reason", "SIP;cause=200"), 481, {}),
    ],
)
@pytest.mark.parametrize("who", ["caller", "callee"])
def test_in_a_call(world, anna, bert, talk, who, method, extra, status, said):
    peer, last = (anna, talk.ok) if who == "caller" else (bert, talk.out)
    peer.say(peer.within(last, method, extra))
    (answer,) = peer.hears(status)
    assert {name: answer.get(name) for name in said} == said
    (view,) = world.core.calls()
    assert view.state == CallState.TALKING
    peer.say(body(peer.within(last, "BYE"), "text/plain", b"good bye"))
    peer.hears(200)
    (bye,) = (bert if peer is anna else anna).heard()
    assert bye.method == "BYE"


@pytest.mark.parametrize("method", ["UPDATE", "PRACK", "INFO", "REFER", "BYE", "INVITE"])
def test_no_hops_are_left_outside_of_a_call(anna, method):
    anna.say(anna.request(method, "sip:bert@example.org", hops="0"))
    anna.hears(483)


def test_no_hops_need_be_left_within_a_call(anna, bert, talk):
    anna.say(anna.within(talk.ok, "BYE").replaced("Max-Forwards", ["0"]))
    anna.hears(200)
    bert.hears("BYE")


@pytest.mark.parametrize("name", ["Timestamp", "Date"])
def test_a_time_stamp_comes_back_in_100(world, anna, bert, name):
    value = {"Timestamp": "54.21 0.4", "Date": "Sat, 13 Nov 2010 23:29:00 GMT"}[name]
    anna.invite("bert", OFFER, (name, value))
    (trying,) = anna.hears(100)
    assert trying.get("Timestamp") == (value if name == "Timestamp" else None)


@pytest.mark.parametrize(
    ("uri", "dialled"),
    [
        ("sip:%62er%74@example.org", "bert"),
        ("sip:bert:word@EXAMPLE.org:5060;transport=UDP;lr;method=BYE", "bert"),
        ("sip:bert;x=1@example.org", "bert;x=1"),
        ("sip:+49%2D30@example.org", "+4930"),
        ("tel:+49-30;phone-context=+1;isub=7", "+4930"),
        ("sip:%0d%0abert@example.org", ""),
    ],
)
def test_what_is_dialled(world, anna, uri, dialled):
    invite = anna.request("INVITE", uri, sdp=OFFER)
    anna.say(invite)
    anna.say(anna.authorized(invite, anna.hears(407)[0]))
    (asked,) = world.effects(FindRoute)
    assert asked.dialled == dialled


def test_two_calls_may_share_their_call_id_but_for_the_tag_of_from(world, anna, bert):
    for tag in ("one", "two"):
        anna.invite("bert", OFFER, call_id="same", from_tag=tag)
        anna.hears(100)
    bert.hears("INVITE", "INVITE")
    assert len(world.core.calls()) == 2


def test_a_caller_without_a_tag_is_spoken_to_without_one(world, anna, bert):
    """One of before RFC 3261; an empty tag is none (§12.2.1.1)."""
    invite = anna.request("INVITE", "sip:bert@example.org", sdp=OFFER).replaced("From", ["<sip:anna@example.org>"])
    anna.say(invite)
    again = anna.authorized(invite, anna.hears(407)[0])
    anna.say(again)
    (out,) = bert.hears("INVITE")
    bert.reply(out, 200, ANSWER)
    bert.hears("ACK")
    (_, ok) = anna.hears(100, 200)
    anna.say(anna.beside(again, "ACK", to=str(ok.to), branch="x"))
    bert.say(bert.within(out, "BYE"))
    (bye,) = anna.hears("BYE")
    assert bye.get("To") == "<sip:anna@example.org>"
    anna.reply(bye, 200)
    settle(world, 200, 16, "b")


def test_a_callee_without_a_tag_too(world, anna, bert):
    anna.invite("bert", OFFER)
    (out,) = bert.hears("INVITE")
    answer = response_to(out, 200, headers=[("Contact", "<sip:bert@203.0.113.9>")], body=ANSWER)
    bert.say(answer.replaced("Content-Type", ["application/sdp"]))
    (ack,) = bert.hears("ACK")
    assert ack.get("To") == "<sip:bert@example.org>"


def test_a_response_that_was_for_another_is_dropped(world, anna, bert):
    """Each Via below ours is somebody's who would have had to take its own away (RFC 3261 §8.1.3.3)."""
    anna.invite("bert", OFFER)
    (out,) = bert.hears("INVITE")
    busy = response_to(out, 486, to_tag="b")
    bert.say(busy.replaced("Via", [str(out.via), "SIP/2.0/UDP 192.0.2.99;branch=z9hG4bKother"]))
    bert.hears()
    anna.hears(100)
    bert.say(busy)
    bert.hears("ACK")
    anna.hears(486)


@pytest.mark.parametrize("late", [180, 486, 603])
def test_whatever_comes_after_the_answer_changes_nothing(world, anna, bert, late):
    anna.invite("bert", OFFER)
    (out,) = bert.hears("INVITE")
    bert.reply(out, 200, ANSWER)
    bert.reply(out, late)
    bert.hears("ACK")
    anna.hears(100, 200)


def test_an_invite_repeated_after_its_ack_is_heard_no_more(world, anna, talk):
    for wait in (0, 40):
        world.pass_time(wait)
        anna.say(talk.invite)
        anna.hears()
    assert len(world.core.calls()) == 1


@pytest.mark.parametrize("bad", ["CSeq", "tag"])
def test_an_ack_of_something_else_is_none(world, anna, bert, bad):
    invite = anna.invite("bert", OFFER)
    (out,) = bert.hears("INVITE")
    bert.reply(out, 200, ANSWER)
    (_, ok) = anna.hears(100, 200)
    ack = anna.beside(invite, "ACK", to=f"{ok.to}{'x' if bad == 'tag' else ''}", branch="k")
    anna.say(ack.replaced("CSeq", ["99 ACK"]) if bad == "CSeq" else ack)
    world.pass_time(0.6)
    anna.hears(200)


def test_a_change_that_the_other_party_cannot_read_is_refused_in_words_that_need_no_more(world, anna, bert, talk):
    """A 415 would have to say what can be read, and that is between the callee and us (RFC 3261 §21.4.13)."""
    for status, told in ((405, 500), (415, 488), (422, 500), (488, 488), (494, 500)):
        change = anna.within(talk.ok, "INVITE", sdp=HOLD)
        anna.say(change)
        (out,) = bert.hears("INVITE")
        bert.say(response_to(out, status))
        bert.hears("ACK")
        anna.hears(100, told)
        anna.say(anna.beside(change, "ACK"))
    assert world.core.calls()[0].state == CallState.TALKING


def test_a_body_beyond_its_length_is_none(world, anna, bert):
    """By a datagram: what follows the length is dropped (RFC 3261 §18.3), and so the INVITE makes no offer."""
    invite = anna.request("INVITE", "sip:bert@example.org", sdp=OFFER)
    anna.say(invite)
    again = anna.authorized(invite, anna.hears(407)[0])
    size = f"Content-Length: {len(OFFER)}".encode()
    world.receive(again.to_bytes().replace(size, b"Content-Length: 0"), anna.address)
    anna.hears(100)
    assert bert.hears("INVITE")[0].body == b""
