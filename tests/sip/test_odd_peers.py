# SPDX-License-Identifier: GPL-3.0-or-later
"""What phones and carriers do that is rare, and right by some RFC: it must work."""

from __future__ import annotations

import pytest

from sip.effects import Address, FindRoute, OfferMedia, UserTarget
from tests.sip.conftest import OFFER, Peer, World
from tests.sip.talk import ANSWER, settle
from tests.sip.test_restore import die

ISUP = b"--x\r\nContent-Type: application/isup\r\nContent-Disposition: signal;handling=optional\r\n\r\n\x00\xff\r\n"


@pytest.fixture
def carl(world):
    peer = Peer(world, "carl", "203.0.113.30")
    assert peer.register().status == 200
    return peer


def talk(anna, bert, *headers):
    """A call that is answered; what Bert got, and what Anna got."""
    invite = anna.invite("bert", OFFER, *headers)
    anna.hears(100)
    (out,) = bert.hears("INVITE")
    bert.reply(out, 200, ANSWER)
    bert.hears("ACK")
    (ok,) = anna.hears(200)
    anna.say(anna.beside(invite, "ACK", to=str(ok.to), branch="x"))
    return out, ok


# --- bodies (RFC 3261 §8.2.3, RFC 5621) ---


@pytest.mark.parametrize("name", ["Content-Encoding", "e"])
def test_an_encoded_body_is_refused_with_what_can_be_read(world, anna, bert, name):
    anna.say(anna.request("INVITE", "sip:bert@example.org", (name, "gzip"), sdp=OFFER))
    (answer,) = anna.hears(415)
    assert (answer.get("Accept"), answer.get("Accept-Encoding")) == ("application/sdp", "identity")
    anna.invite("bert", OFFER, (name, "Identity"), call_id="plain")
    bert.hears("INVITE")


@pytest.mark.parametrize("kind", ["text/plain", "multipart/mixed;boundary=x"])
def test_a_body_that_is_optional_is_left_unread(world, anna, bert, kind):
    """The INVITE counts as one without an offer, as of a carrier that sends but ISUP with it."""
    optional = ("Content-Disposition", "signal; handling=Optional")
    invite = anna.request("INVITE", "sip:bert@example.org", optional, sdp=ISUP + b"--x--\r\n")
    invite = invite.replaced("Content-Type", [kind])
    anna.say(invite)
    anna.say(anna.authorized(invite, anna.hears(407)[0]))
    assert not bert.hears("INVITE")[0].body
    anna.say(invite.replaced("Content-Disposition", ["signal;handling=required"]).replaced("Call-ID", ["other"]))
    anna.hears(100, 415)


def test_isup_beside_a_description(world, anna, bert):
    part = b"--x\r\nContent-Type: application/sdp\r\n\r\n" + OFFER + b"\r\n--x--\r\n"
    invite = anna.request("INVITE", "sip:bert@example.org", sdp=ISUP + part)
    invite = invite.replaced("Content-Type", ["multipart/mixed;boundary=x"])
    anna.say(invite)
    anna.say(anna.authorized(invite, anna.hears(407)[0]))
    (asked,) = world.effects(OfferMedia)
    assert asked.sdp == OFFER
    bert.hears("INVITE")


def test_an_ack_with_a_body_that_nobody_understands(world, anna, bert):
    """Where an answer is owed it is none."""
    invite = anna.invite("bert", b"")
    anna.hears(100)
    (out,) = bert.hears("INVITE")
    bert.reply(out, 200, OFFER)
    (ok,) = anna.hears(200)
    ack = anna.beside(invite, "ACK", to=str(ok.to), branch="late", sdp=b"hello")
    anna.say(ack.replaced("Content-Type", ["text/plain"]))
    anna.reply(anna.hears("BYE")[0], 200)
    for request in bert.hears("ACK", "BYE"):
        bert.reply(request, 200)
    settle(world, 200, 88, "a")


# --- how long a caller waits (RFC 3261 §13.3.1) ---


@pytest.mark.parametrize("restarted", [False, True])
def test_an_invitation_expires(world, anna, bert, restarted):
    anna.invite("bert", OFFER, ("Expires", "30"))
    anna.hears(100)
    (out,) = bert.hears("INVITE")
    if restarted:
        die(world)
        bert.hears("INVITE")
    bert.reply(out, 180)
    anna.hears(180)
    world.pass_time(27.5)
    assert not anna.heard()
    world.pass_time(3)
    assert anna.heard()[0].status == 487
    cancel, *_ = bert.heard()
    assert cancel.method == "CANCEL"
    assert cancel.get("Reason") == "Q.850;cause=102"
    bert.reply(cancel, 200)
    bert.reply(out, 487)
    settle(world, 487, 102, "a")


def test_an_invitation_that_was_answered_expires_no_more(world, anna, bert):
    out, _ = talk(anna, bert, ("Expires", "30"))
    before = world.core.counts()["timers"]
    world.pass_time(60)
    assert not anna.heard()
    assert len(world.core.calls()) == 1
    bert.say(bert.within(out, "BYE"))
    anna.reply(anna.hears("BYE")[0], 200)
    assert world.core.counts()["timers"] <= before
    settle(world, 200, 16, "b")


# --- who calls whom ---


def test_a_nameless_caller_is_whose_password_it_knows(world, anna, bert):
    """RFC 3323 §4.1.1.3: a phone that hides does without its name in From."""
    invite = anna.request("INVITE", "sip:bert@example.org", sdp=OFFER)
    invite = invite.replaced("From", ['"Anonymous" <sip:anonymous@Anonymous.invalid>;tag=a'])
    anna.say(invite)
    anna.say(anna.authorized(invite, anna.hears(407)[0]))
    (out,) = bert.hears("INVITE")
    assert b"anna" not in out.to_bytes()
    assert (out.from_.display, str(out.from_.uri)) == ("Anonymous", "sip:anonymous@anonymous.invalid")
    (asked,) = world.effects(FindRoute)
    assert asked.caller == "anna"


@pytest.mark.parametrize("said", ["sip:anonymous@example.org", "sip:carl@anonymous.invalid", "sip:carl@example.org"])
def test_another_name_is_still_refused(world, anna, bert, said):
    invite = anna.request("INVITE", "sip:bert@example.org", sdp=OFFER).replaced("From", [f"<{said}>;tag=a"])
    anna.say(invite)
    anna.say(anna.authorized(invite, anna.hears(407)[0]))
    anna.hears(403)


def test_the_same_call_to_another_number_of_ours_is_a_call_of_its_own(world, anna, bert, carl):
    """A proxy before us forks; each branch ends by itself, and only what comes by two ways is a loop."""
    fields = {"call_id": "forked", "from_tag": "f"}
    first = anna.invite("bert", OFFER, **fields)
    anna.hears(100)
    second = anna.invite("carl", OFFER, **fields)
    anna.hears(100)
    (out,) = bert.hears("INVITE")
    carl.hears("INVITE")
    anna.say(first.replaced("Via", [f"{first.via}x"]))
    anna.hears(482)
    anna.say(anna.beside(second, "CANCEL"))
    cancelled, ended = anna.hears(200, 487)
    assert cancelled.to.tag == ended.to.tag
    bert.reply(out, 200, ANSWER)
    (ok,) = anna.hears(200)
    assert ok.to.tag != ended.to.tag
    anna.say(anna.beside(first, "ACK", to=str(ok.to), branch="x"))
    anna.say(anna.within(ok, "BYE"))
    anna.hears(200)
    world.pass_time(100)
    assert sorted(end.status for end in world.ended()) == [200, 487]
    assert world.empty(), world.core.counts()


def test_a_transfer_to_a_telephone_number(world, anna, bert, carl):
    _, ok = talk(anna, bert)
    world.routes["+4930301"] = (UserTarget("carl"),)
    anna.say(anna.within(ok, "REFER", ("Refer-To", "<tel:+49-30-301>")))
    anna.hears(202, "NOTIFY")
    carl.hears("INVITE")
    asked = world.effects(FindRoute)[-1]
    assert (asked.dialled, asked.domain) == ("+4930301", "example.org")


def test_a_redirection_to_a_telephone_number():
    world = World(redirections=1)
    anna, bert = Peer(world, "anna", "192.0.2.7"), Peer(world, "bert", "203.0.113.9")
    assert bert.register().status == 200
    anna.invite("bert", OFFER)
    (out,) = bert.hears("INVITE")
    bert.reply(out, 302, b"", ("Contact", "<tel:+49-30-301>"))
    bert.hears("ACK")
    asked = world.effects(FindRoute)[-1]
    assert (asked.dialled, asked.domain, asked.diverted) == ("+4930301", "example.org", "bert")


def test_a_redirection_to_a_sips_uri_is_none_that_we_could_follow():
    """It promises TLS on each hop (RFC 5630 §3.1), which we do not."""
    world = World(redirections=1)
    anna, bert = Peer(world, "anna", "192.0.2.7"), Peer(world, "bert", "203.0.113.9")
    assert bert.register().status == 200
    anna.invite("bert", OFFER)
    (out,) = bert.hears("INVITE")
    bert.reply(out, 302, b"", ("Contact", "<sips:carl@example.org>"))
    assert anna.heard()[-1].status == 480
    assert len(world.effects(FindRoute)) == 1


SIPS = "<sips:anna@192.0.2.7>"


@pytest.mark.parametrize(("transport", "statuses"), [("udp", [400]), ("tcp", [400]), ("tls", [407]), ("wss", [407])])
def test_a_caller_that_wants_tls_calls_by_it(world, anna, transport, statuses):
    """Whoever is called back at a sips URI must be so by TLS (RFC 5630 §5.1.1), as whoever registers one."""
    anna.address = Address("192.0.2.7", 40000, transport, inbound=transport != "udp")
    anna.say(anna.request("INVITE", "sip:bert@example.org", sdp=OFFER, contact=SIPS))
    (answer,) = anna.hears(*statuses)
    assert answer.status == 407 or answer.reason == "SIPS Contact Needs TLS"


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_a_party_that_wants_tls_later_is_refused_and_the_call_goes_on(world, anna, bert, method):
    out, ok = talk(anna, bert)
    anna.say(anna.within(ok, method, sdp=OFFER).replaced("Contact", [SIPS]))
    assert anna.heard()[-1].reason == "SIPS Contact Needs TLS"
    bert.say(bert.within(out, "BYE"))
    assert anna.hears("BYE")[0].uri == "sip:anna@192.0.2.7:5060"


def test_a_callee_that_wants_tls_without_it_is_reached_where_it_was_called(world, anna, bert):
    """An answer cannot be refused; what it promises is not followed."""
    anna.invite("bert", OFFER)
    anna.hears(100)
    (out,) = bert.hears("INVITE")
    bert.reply(out, 180, b"", ("Contact", "<sips:bert@203.0.113.9>"))
    bert.reply(out, 200, ANSWER, ("Contact", "<sips:bert@203.0.113.9>"))
    (ack,) = bert.hears("ACK")
    assert ack.uri == out.uri
    (view,) = world.core.calls()
    assert view.b.peer == bert.address


@pytest.mark.parametrize("user", ["+4930301;npdi=yes;rn=+49301", "+49(30)301", "+4930301;phone-context=+49"])
def test_a_number_with_a_plus_sign_has_parameters_of_its_own(world, anna, user):
    anna.invite(user, OFFER)
    (asked,) = world.effects(FindRoute)
    assert asked.dialled == "+4930301"


def test_a_contact_that_is_named_twice(world, anna):
    """The last one of a REGISTER holds, though they are equal."""
    answer = anna.register(contact="<sip:anna@192.0.2.7;x=1>;q=0.5, <sip:%61nna@192.0.2.7>;expires=90")
    assert answer.status == 200
    assert answer.values("Contact") == ["<sip:%61nna@192.0.2.7>;expires=90"]
