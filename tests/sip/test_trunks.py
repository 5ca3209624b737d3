# SPDX-License-Identifier: GPL-3.0-or-later
"""Trunks: registration, probing, digest toward them and nobody else, fail-over, channels, calls from them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sip.client_auth import Login
from sip.digest import Challenge, Credentials, ha1
from sip.effects import Address, FindRoute, TrunkTarget
from sip.message import Request
from sip.trunk import Trunk, network
from tests.sip.conftest import Peer
from tests.sip.talk import ANSWER, HOLD, settle

FIRST, SECOND = Address("198.51.100.71", 5060), Address("198.51.100.72", 5060)
CARRIER = Trunk("carrier", "carrier.example", (FIRST, SECOND), sources=(network("198.51.100.64/28"),))
LOGIN = Login("4930555", "secret")


def carrier(world, **changes):
    """The carrier's two hosts, known to the core as one trunk."""
    world.run(world.core.set_trunks([replace(CARRIER, **changes)], world.now))
    world.routes["49301"] = (TrunkTarget("carrier", "+49301"),)
    return Peer(world, "4930555", FIRST.host), Peer(world, "4930555", SECOND.host)


def challenge(peer, request, status=401, nonce="n1", realm="carrier.example"):
    name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    peer.reply(request, status, b"", (name, str(Challenge(realm, nonce, "MD5"))))


def proves(request, nonce="n1"):
    """Whether a request carries the right answer to the challenge."""
    (value,) = (*request.authorizations, *request.proxy_authorizations)
    offered = Credentials.of(value)
    known = ha1("MD5", LOGIN.username, offered.realm, LOGIN.password)
    return offered.nonce == nonce and offered.response == offered.expected_response(known, request.method)


def one(peer, method):
    requests = [message for message in peer.heard() if isinstance(message, Request) and message.method == method]
    (_,) = {request.to_bytes() for request in requests}
    return requests[0]


def test_call_by_a_trunk(world, anna):
    host, _ = carrier(world)
    anna.invite("49301")
    out = one(host, "INVITE")
    assert (out.uri, str(out.to.uri)) == ("sip:+49301@carrier.example", "sip:+49301@carrier.example")
    assert "P-Asserted-Identity" not in out
    assert world.core.trunks()[0].calls == 1
    host.reply(out, 200, ANSWER)
    anna.heard()
    host.say(host.within(out, "BYE"))
    world.pass_time(70)
    (end,) = world.ended()
    assert (end.from_trunk, end.to_trunk) == ("", "carrier")
    assert world.core.trunks()[0].calls == 0


@pytest.mark.parametrize("failure", [503, 500, None])
def test_next_address_where_one_is_out_of_order(world, anna, failure):
    first, second = carrier(world)
    anna.invite("49301")
    out = one(first, "INVITE")
    if failure:
        first.reply(out, failure)
    else:
        world.pass_time(32)
    out = one(second, "INVITE")
    assert out.uri == "sip:+49301@carrier.example"


@pytest.mark.parametrize("failure", [404, 486, 403, 603])
def test_what_the_number_says_is_final(world, anna, failure):
    first, second = carrier(world)
    anna.invite("49301")
    first.reply(one(first, "INVITE"), failure)
    second.hears()
    assert anna.heard()[-1].status == failure


def test_a_trunk_that_media_cannot_speak_with_is_passed_over_and_takes_no_channel(world, anna):
    """As one that requires SRTP of a caller who has it switched off; the next one may do without."""
    first, second = carrier(world)
    other = replace(CARRIER, name="other", addresses=(second.address,))
    world.run(world.core.set_trunks([replace(CARRIER, addresses=(first.address,)), other], world.now))
    world.routes["49301"] = (TrunkTarget("carrier", "+49301"), TrunkTarget("other", "+49301"))
    world.media = lambda effect: (488, "SRTP is required") if effect.toward_trunk == "carrier" else effect.sdp
    anna.invite("49301")
    first.hears()
    second.hears("INVITE")
    assert {trunk.name: trunk.calls for trunk in world.core.trunks()} == {"carrier": 0, "other": 1}


def test_a_call_that_media_can_carry_to_nobody_ends_as_media_says(world, anna):
    carrier(world)
    world.media = lambda _: (488, "SRTP is required")
    anna.invite("49301")
    assert (anna.heard()[-1].status, world.ended()[-1].reason) == (488, "SRTP is required")
    assert world.core.trunks()[0].calls == 0
    world.media = lambda _: (503, "No Media Available")
    anna.invite("49301")
    assert (anna.heard()[-1].status, world.core.trunks()[0].calls) == (503, 0)


def test_route_can_name_other_failures(world, anna):
    first, _ = carrier(world, addresses=(FIRST,))
    backup = Trunk("backup", "backup.example", (SECOND,))
    world.run(world.core.set_trunks([replace(CARRIER, addresses=(FIRST,)), backup], world.now))
    world.routes["1"] = (TrunkTarget("carrier", "1", next_on=frozenset({1})), TrunkTarget("backup", "1"))
    anna.invite("1")
    first.reply(one(first, "INVITE"), 404)
    assert one(Peer(world, "x", SECOND.host), "INVITE").uri == "sip:1@backup.example"


def test_channels_are_counted_both_ways(world, anna, bert):
    host, _ = carrier(world, channels=1)
    anna.invite("49301")
    out = one(host, "INVITE")
    anna.heard()
    anna.invite("49301", call_id="again", from_tag="again")
    refused = anna.heard()[-1]
    assert (refused.status, refused.reason) == (503, "No Channel Free")
    incoming = host.request("INVITE", "sip:bert@198.51.100.1", sdp=HOLD)
    host.say(incoming)
    assert host.heard()[-1].status == 503
    world.routes["112"] = (TrunkTarget("carrier", "112", urgent=True),)
    anna.invite("112", call_id="urgent", from_tag="urgent")
    assert one(host, "INVITE").uri == "sip:112@carrier.example"
    host.reply(out, 486)
    anna.heard()
    anna.invite("49301", call_id="third", from_tag="third")
    host.heard()
    assert world.core.trunks()[0].calls == 1


@pytest.mark.parametrize(
    ("uri", "dialled"),
    [
        ("tel:+49-30-(301)", "+4930301"),
        ("tel:301;phone-context=+4930", "301"),
        ("sip:+4930301;npdi;rn=+4930@198.51.100.1;user=phone", "+4930301"),
        ("sip:a.b-c@198.51.100.1", "a.b-c"),
    ],
)
def test_numbers_are_dialled_without_their_ornaments(world, bert, uri, dialled):
    host, _ = carrier(world, trusted=True)
    asserted = ("P-Asserted-Identity", "<tel:+49-89-1>")
    host.say(host.request("INVITE", uri, asserted, sdp=HOLD))
    (question,) = world.effects(FindRoute)
    assert (question.dialled, question.caller) == (dialled, "+49891")
    assert question.domain in ("198.51.100.1", "example.org")
    host.say(host.request("OPTIONS", "tel:+4930"))
    assert host.heard()[-1].status == 416


def test_a_trunk_that_has_a_name_for_us_finds_it_in_each_contact(world, anna):
    host, _ = carrier(world, login=LOGIN)
    anna.invite("49301")
    out = one(host, "INVITE")
    assert str(out.contacts[0].uri) == "sip:4930555@198.51.100.1:5060"
    host.reply(out, 200, ANSWER)
    host.hears("ACK")
    (ok,) = [message for message in anna.heard() if message.status == 200]
    assert str(ok.contacts[0].uri) == "sip:198.51.100.1:5060"
    anna.say(
        anna.beside(anna.within(ok, "INVITE"), "ACK", to=str(ok.to), branch="up").replaced(
            "CSeq", [f"{ok.cseq.number} ACK"]
        )
    )
    host.say(host.within(out, "UPDATE"))
    assert str(host.hears(200)[0].contacts[0].uri) == "sip:4930555@198.51.100.1:5060"
    named_otherwise, _ = carrier(world, login=LOGIN, from_user="a b")
    anna.invite("49301", call_id="two", from_tag="two")
    assert str(one(named_otherwise, "INVITE").contacts[0].uri) == "sip:a%20b@198.51.100.1:5060"


def named(world):
    return [(end.from_trunk, end.to_trunk, end.status, end.reason) for end in world.ended()]


def test_a_record_names_the_trunk_that_answered_after_another_failed(world, anna):
    first, second = Trunk("first", "one.example", (FIRST,)), Trunk("second", "two.example", (SECOND,))
    world.run(world.core.set_trunks([first, second], world.now))
    world.routes["1"] = (TrunkTarget("first", "1"), TrunkTarget("second", "1"))
    anna.invite("1")
    one_host, two = Peer(world, "x", FIRST.host), Peer(world, "y", SECOND.host)
    one_host.reply(one(one_host, "INVITE"), 503)
    out = one(two, "INVITE")
    two.reply(out, 200, ANSWER)
    two.say(two.within(out, "BYE"))
    world.pass_time(70)
    assert named(world) == [("", "second", 200, "")]
    anna.heard()
    anna.invite("1", call_id="again", from_tag="again")
    one_host.reply(one(one_host, "INVITE"), 503)
    two.reply(one(two, "INVITE"), 404)
    world.pass_time(70)
    assert named(world)[1:] == [("", "second", 404, "Not Found")]


def test_a_record_names_the_trunk_that_had_no_room_or_did_not_answer(world, anna, bert):
    host, _ = carrier(world, channels=1, probe=5)
    host.say(host.request("INVITE", "sip:bert@198.51.100.1", sdp=HOLD))
    (out,) = bert.hears("INVITE")
    anna.invite("49301")
    host.say(host.request("INVITE", "sip:bert@198.51.100.1", sdp=HOLD, call_id="two", from_tag="two"))
    assert host.heard()[-1].status == 503
    assert named(world) == [("", "carrier", 503, "No Channel Free"), ("carrier", "", 503, "No Channel Free")]
    bert.reply(out, 486)
    world.pass_time(70)
    assert named(world)[2:] == [("carrier", "", 486, "Busy Here")]
    anna.heard()
    anna.invite("49301", call_id="down", from_tag="down")
    assert named(world)[3:] == [("", "carrier", 503, "Trunk Out Of Order")]
    assert world.core.trunks()[0].calls == 0


@pytest.mark.parametrize("status", [401, 407])
def test_challenge_of_a_trunk_is_answered_by_us(world, anna, status):
    host, _ = carrier(world, login=LOGIN)
    anna.invite("49301")
    out = one(host, "INVITE")
    challenge(host, out, status)
    again = one(host, "INVITE")
    assert proves(again)
    assert again.cseq.number == out.cseq.number + 1
    assert again.call_id == out.call_id
    host.reply(again, 200, ANSWER)
    ack = one(host, "ACK")
    assert ack.values("Proxy-Authorization") or ack.values("Authorization")
    assert [message.status for message in anna.heard()] == [100, 200]
    world.run(world.core.hang_up(world.core.calls()[0].id, world.now))


def test_later_requests_of_the_dialog_are_signed_and_a_new_nonce_is_taken(world, anna):
    host, _ = carrier(world, login=LOGIN)
    invite = anna.invite("49301")
    challenge(host, one(host, "INVITE"))
    host.reply(one(host, "INVITE"), 200, ANSWER)
    ok = anna.heard()[-1]
    anna.say(anna.beside(invite, "ACK", to=str(ok.to), branch="x"))
    host.heard()
    anna.say(anna.within(ok, "BYE"))
    bye = one(host, "BYE")
    assert proves(bye)
    challenge(host, bye, nonce="n2")
    again = one(host, "BYE")
    assert proves(again, "n2")
    assert again.cseq.number > bye.cseq.number
    host.reply(again, 200)
    settle(world, 200, 16, "a")


def test_wrong_password_ends(world, anna):
    host, _ = carrier(world, login=LOGIN)
    anna.invite("49301")
    for nonce in ("n1", "n2"):
        challenge(host, one(host, "INVITE"), nonce=nonce)
    challenge(host, one(host, "INVITE"), nonce="n3")
    assert [message.method for message in host.heard() if isinstance(message, Request)] == ["ACK"]
    assert anna.heard()[-1].status == 403


def test_credentials_reach_nobody_else(world, anna, bert):
    """A phone of ours, or a realm that is not the trunk's, gets no answer to a challenge."""
    host, _ = carrier(world, login=replace(LOGIN, realm="carrier.example"))
    anna.invite("bert")
    (out,) = bert.hears("INVITE")
    challenge(bert, out, realm="carrier.example")
    bert.hears("ACK")
    assert anna.heard()[-1].status == 403
    anna.invite("49301", call_id="2", from_tag="2")
    challenge(host, one(host, "INVITE"), realm="elsewhere.example")
    host.hears("ACK")
    assert anna.heard()[-1].status == 403
    assert not any(LOGIN.username.encode() in send.data for _, send in world.wire)
    host.say(host.request("INVITE", "sip:bert@198.51.100.1", sdp=HOLD))
    (incoming,) = bert.hears("INVITE")
    assert not incoming.authorizations


def test_registration(world):
    host, _ = carrier(world, login=LOGIN, register=True)
    world.pass_time(1)
    register = one(host, "REGISTER")
    assert (register.uri, str(register.to.uri)) == ("sip:carrier.example", "sip:4930555@carrier.example")
    assert str(register.contacts[0].uri) == "sip:4930555@198.51.100.1:5060"
    challenge(host, register)
    again = one(host, "REGISTER")
    assert proves(again)
    assert (again.call_id, again.cseq.number) == (register.call_id, register.cseq.number + 1)
    assert world.core.trunks()[0].registered is False
    host.reply(again, 200, b"", ("Contact", "<sip:4930555@198.51.100.1:5060>;expires=100"))
    assert world.core.trunks()[0].registered is True
    world.pass_time(81)
    renewal = one(host, "REGISTER")
    assert proves(renewal)
    host.reply(renewal, 200, b"", ("Expires", "100"))
    world.run(world.core.set_trunks([], world.now))
    assert one(host, "REGISTER").expires == 0


def test_registration_goes_to_the_next_address_and_then_waits(world):
    first, second = carrier(world, login=LOGIN, register=True)
    world.pass_time(1)
    first.reply(one(first, "REGISTER"), 503)
    second.reply(one(second, "REGISTER"), 403)
    (view,) = world.core.trunks()
    assert (view.registered, view.error) == (False, "403 Forbidden")
    world.pass_time(59)
    first.hears()
    world.pass_time(2)
    assert one(first, "REGISTER")


def test_registration_too_brief(world):
    host, _ = carrier(world, login=LOGIN, register=True, expires=60)
    world.pass_time(1)
    host.reply(one(host, "REGISTER"), 423, b"", ("Min-Expires", "900"))
    assert one(host, "REGISTER").expires == 900


def test_probing_tells_up_from_down(world, anna):
    first, second = carrier(world, probe=30.0)
    world.pass_time(1)
    first.reply(one(first, "OPTIONS"), 503)
    second.reply(one(second, "OPTIONS"), 404)
    (view,) = world.core.trunks()
    assert view.addresses == ((FIRST, False), (SECOND, True))
    anna.invite("49301")
    first.hears()
    assert one(second, "INVITE")
    world.pass_time(30)
    first.reply(one(first, "OPTIONS"), 200)
    assert world.core.trunks()[0].addresses[0] == (FIRST, True)


def test_silent_trunk_is_down(world, anna):
    carrier(world, probe=30.0)
    world.pass_time(33)
    anna.invite("49301")
    refused = anna.heard()[-1]
    assert (refused.status, refused.reason) == (503, "Trunk Out Of Order")


def test_calls_from_a_trunk_are_known_by_their_source(world, bert):
    host, _ = carrier(world)
    host.say(host.request("INVITE", "sip:bert@198.51.100.1", sdp=HOLD))
    host.hears(100)
    (question,) = world.effects(FindRoute)
    assert (question.caller, question.trunk, question.dialled) == ("4930555", "carrier", "bert")
    (out,) = bert.hears("INVITE")
    assert out.from_.uri.user == "4930555"
    stranger = Peer(world, "stranger", "198.51.100.99")
    stranger.say(stranger.request("INVITE", "sip:bert@198.51.100.1", sdp=HOLD))
    stranger.hears(407)


def test_a_call_that_comes_back_for_somebody_else_is_no_loop(world, anna, bert):
    """A spiral (RFC 3261 §16.3): a proxy at the carrier's sends our own INVITE back to us, for a user of ours."""
    host, _ = carrier(world)
    anna.invite("49301")
    (out,) = host.hears("INVITE")
    hops = str(out.max_forwards - 1)
    fields = [(name, hops if name == "Max-Forwards" else value) for name, value in out.fields()]
    via = ("Via", f"SIP/2.0/UDP {FIRST.host}:5060;branch=z9hG4bKback")
    host.say(Request("INVITE", "sip:bert@example.org", [via, *fields], out.body))
    (back,) = bert.hears("INVITE")
    assert back.call_id != out.call_id
    assert back.max_forwards == out.max_forwards - 2
    assert len(world.core.calls()) == 2


def test_user_behind_a_trunks_address_is_still_a_user(world, bert):
    carrier(world)
    anna = Peer(world, "anna", "198.51.100.70")
    request = anna.request("INVITE", "sip:bert@example.org", sdp=HOLD)
    stranger = Peer(world, "anna", "192.0.2.1")
    stranger.say(request)
    anna.say(anna.authorized(request, stranger.hears(407)[0]))
    assert world.effects(FindRoute)[0].trunk == ""


def test_trunks_that_stay_are_not_disturbed(world):
    host, _ = carrier(world, login=LOGIN, register=True)
    world.pass_time(1)
    host.reply(one(host, "REGISTER"), 200, b"", ("Expires", "3600"))
    carrier(world, login=LOGIN, register=True)
    world.pass_time(2)
    host.hears()
    assert world.core.trunks()[0].registered is True


def test_secrets_are_not_shown():
    assert "secret" not in repr(replace(CARRIER, login=LOGIN))


def test_trunk_without_a_sign_is_given_up(world, anna):
    first, second = carrier(world)
    world.routes["1"] = (TrunkTarget("carrier", "1", setup=4.0),)
    anna.invite("1")
    one(first, "INVITE")
    world.pass_time(4.1)
    out = one(second, "INVITE")
    second.reply(out, 100)
    world.pass_time(100)
    assert len(world.core.calls()) == 1


@pytest.mark.parametrize(("names", "known"), [((), False), (("pbx.example",), False), (("carrier.example",), True)])
def test_trunk_with_certificates_is_known_by_them_alone(world, bert, names, known):
    carrier(world, certificates=("carrier.example",))
    host = Peer(world, "4930555", FIRST.host)
    host.address = Address(FIRST.host, 5061, "tls", inbound=True, certified=names)
    host.say(host.request("INVITE", "sip:bert@198.51.100.1", sdp=HOLD))
    assert host.heard()[-1].status == (100 if known else 407)
