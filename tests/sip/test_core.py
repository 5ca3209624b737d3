# SPDX-License-Identifier: GPL-3.0-or-later
"""The front desk: who is let in, and what all others are told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sip.effects import Address, Authenticate, FindRoute, SaveBindings
from tests.sip.talk import ANSWER

NAT = Address("192.0.2.7", 40000)


def test_unknown_and_known_users_hear_the_same(world, anna):
    """From the first word to the last, however often they guess."""
    heard = []
    for user in ("anna", "nobody"):
        request = anna.request("REGISTER", "sip:example.org", to=f"sip:{user}@example.org", call_id=user)
        request = request.replaced("From", [f"<sip:{user}@example.org>;tag=1"])
        anna.say(request)
        answers = [anna.hears(401)[0]]
        for _ in range(6):
            challenge = [each for each in answers if each.status == 401][-1]
            again = anna.authorized(request, challenge, password="wrong")
            value = again.get("Authorization").replace('"anna"', f'"{user}"')
            anna.say(again.replaced("Authorization", [value]))
            answers += anna.heard()
        heard.append([(each.status, each.reason, [name for name, _ in each.fields()]) for each in answers])
    assert heard[0] == heard[1]
    assert [status for status, _, _ in heard[0]] == [401] * 4 + [403] * 3


@pytest.mark.parametrize("names", [("MD5", "SHA-256"), ("SHA-256",), ("MD5",)])
def test_algorithms_are_offered_in_the_order_that_is_configured(world, anna, names):
    world.settings = replace(world.settings, algorithms=names)
    world.core = world.fresh_core()
    anna.say(anna.request("REGISTER", "sip:example.org", to="sip:anna@example.org"))
    (challenge,) = anna.hears(401)
    assert tuple(value.params["algorithm"] for value in challenge.www_authenticate) == names


def test_strongest_algorithm_first(world, anna):
    anna.say(anna.request("INVITE", "sip:bert@example.org"))
    (challenge,) = anna.hears(407)
    assert [value.params["algorithm"] for value in challenge.proxy_authenticate] == ["SHA-256", "MD5"]


def test_md5_is_enough_where_it_is_offered(world, anna):
    request = anna.request("REGISTER", "sip:example.org", to="sip:anna@example.org")
    anna.say(request)
    (challenge,) = anna.hears(401)
    md5 = challenge.replaced("WWW-Authenticate", challenge.values("WWW-Authenticate")[1:])
    anna.say(anna.authorized(request, md5))
    anna.hears(200)


def test_wrong_password_meets_403_after_a_few(world, anna):
    """Clients exist that answer every 401 at once, for ever."""
    request = anna.request("REGISTER", "sip:example.org", to="sip:anna@example.org")
    anna.say(request)
    heard = anna.hears(401)[0]
    statuses = []
    for _ in range(10):
        anna.say(anna.authorized(request, heard, password="wrong"))
        (answer,) = anna.heard()
        statuses.append(answer.status)
        heard = answer if answer.status == 401 else heard
    assert statuses == [401] * 3 + [403] * 7
    assert len(world.effects(Authenticate)) == 4
    world.pass_time(60)
    assert anna.register().status == 200


def test_replayed_credentials_are_stale(world, anna):
    request = anna.request("REGISTER", "sip:example.org", to="sip:anna@example.org")
    anna.say(request)
    (challenge,) = anna.hears(401)
    anna.say(anna.authorized(request, challenge))
    anna.hears(200)
    anna.say(anna.authorized(request, challenge))
    (again,) = anna.hears(401)
    assert again.www_authenticate[0].params["stale"] == "true"
    anna.say(anna.authorized(request, challenge, nc=2))
    anna.hears(200)


def test_nobody_calls_without_a_password(world, anna, bert):
    for user in ("anna", "bert", "nobody"):
        anna.user = user
        anna.say(anna.request("INVITE", "sip:bert@example.org", call_id=f"{user}-x"))
    anna.hears(407, 407, 407)
    assert not world.effects(FindRoute)
    assert world.core.counts()["calls"] == 0


def test_nobody_calls_in_another_name(world, anna, bert):
    request = anna.request("INVITE", "sip:bert@example.org").replaced("From", ["<sip:boss@example.org>;tag=1"])
    anna.say(request)
    anna.say(anna.authorized(request, anna.hears(407)[0]))
    anna.hears(403)
    assert not world.effects(FindRoute)


def test_challenges_leave_nothing_behind(world, anna):
    for number in range(1000):
        anna.say(anna.request("INVITE", "sip:bert@example.org", call_id=f"flood{number}"))
    counts = world.core.counts()
    assert (counts["transactions"], counts["timers"]) == (0, 0)


def test_to_tag_of_a_stateless_answer_is_one_for_all_retransmissions(world, anna):
    request = anna.request("INVITE", "sip:bert@example.org")
    anna.say(request)
    anna.say(request)
    first, second = anna.hears(407, 407)
    assert first.to.tag == second.to.tag is not None


@pytest.mark.parametrize("method", ["ACK", "CANCEL"])
def test_ack_and_cancel_are_never_challenged(world, anna, method):
    anna.say(anna.request(method, "sip:bert@example.org"))
    anna.hears(*([] if method == "ACK" else [481]))


REFUSALS = [
    ("SUBSCRIBE", {}, [], 405, ("Allow", "INVITE, ACK, BYE, CANCEL, OPTIONS, REGISTER, INFO, UPDATE, PRACK, REFER")),
    ("REFER", {}, [], 481, None),
    ("MESSAGE", {}, [], 405, None),
    ("FLY", {}, [], 501, ("Allow", "INVITE, ACK, BYE, CANCEL, OPTIONS, REGISTER, INFO, UPDATE, PRACK, REFER")),
    ("INVITE", {"hops": "0"}, [], 483, None),
    ("OPTIONS", {"hops": "0"}, [], 200, None),
    ("INVITE", {}, [("Require", "100rel, nothingSupportsThis")], 420, ("Unsupported", "nothingSupportsThis")),
    ("INVITE", {}, [("Proxy-Require", "privacy")], 420, ("Unsupported", "privacy")),
    ("BYE", {}, [], 481, None),
    ("BYE", {"to_tag": "invented"}, [], 481, None),
    ("INVITE", {"to_tag": "invented"}, [], 481, None),
    ("INFO", {}, [], 481, None),
]


@pytest.mark.parametrize(("method", "fields", "extra", "status", "header"), REFUSALS)
def test_refusals(world, anna, method, fields, extra, status, header):
    anna.say(anna.request(method, "sip:bert@example.org", *extra, **fields))
    (answer,) = anna.hears(status)
    assert answer.to.tag
    if header:
        assert answer.get(header[0]) == header[1]
    assert world.empty()


def test_other_schemes_and_bodies(world, anna):
    anna.say(anna.request("INVITE", "sips:bert@example.org"))
    anna.hears(416)
    anna.say(anna.request("INVITE", "sip:bert@example.org").with_body(b"x", "text/plain"))
    (answer,) = anna.hears(415)
    assert answer.get("Accept") == "application/sdp"


def test_sdp_is_found_among_other_parts(world, anna, bert):
    body = (
        b"--b1\r\nContent-Type: text/plain\r\n\r\nhello\r\n"
        b"--b1\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\r\n--b1--\r\n"
    )
    request = anna.request("INVITE", "sip:bert@example.org").with_body(body, 'multipart/mixed;boundary="b1"')
    anna.say(request)
    anna.say(anna.authorized(request, anna.hears(407)[0]))
    (out,) = bert.hears("INVITE")
    assert out.body == b"v=0\r\na=via-a\r\n"
    assert out.content_type == "application/sdp"


def test_options_says_what_we_can(world, anna):
    anna.say(anna.request("OPTIONS", "sip:example.org"))
    (answer,) = anna.hears(200)
    assert "INVITE" in answer.allow
    assert answer.get("Accept") == "application/sdp"


def test_answers_go_to_the_packets_source(world, anna):
    data = (
        anna.request("OPTIONS", "sip:example.org").to_bytes().replace(b"192.0.2.7:5060;rport", b"10.0.0.9:5060;rport")
    )
    world.receive(data, NAT)
    (answer,) = world.sent(NAT)
    assert (answer.via.received, answer.via.rport, answer.via.host) == ("192.0.2.7", 40000, "10.0.0.9")


def test_broken_messages_are_answered_where_they_can_be(world, anna):
    good = anna.request("INVITE", "sip:bert@example.org").to_bytes()
    anna.world.receive(good.replace(b"SIP/2.0\r\n", b"SIP/3.0\r\n", 1), anna.address)
    anna.hears(505)
    anna.world.receive(good.replace(b"CSeq: 1 INVITE", b"CSeq: 1 BYE"), anna.address)
    anna.hears(400)
    anna.world.receive(good.replace(b"INVITE", b"ACK").replace(b"CSeq: 1", b"CSeq: x"), anna.address)
    anna.world.receive(b"\xff\x00nonsense", anna.address)
    anna.world.receive(b"SIP/2.0 200 OK\r\nVia: x\r\n\r\n", anna.address)
    anna.hears()
    assert world.empty()


READABLE = {
    400: [(b"CSeq: 1 INVITE", b"CSeq: 1 BYE")],
    415: [
        (b"Max-Forwards", b"Content-Type: text/plain\r\nContent-Length: 1\r\nMax-Forwards"),
        (b"\r\n\r\n", b"\r\n\r\nx"),
    ],
    416: [(b"INVITE sip:", b"INVITE isbn:")],
    420: [(b"Max-Forwards", b"Require: x\r\nMax-Forwards")],
    483: [(b"Max-Forwards: 70", b"Max-Forwards: 0")],
    505: [(b"SIP/2.0\r\n", b"SIP/3.0\r\n")],
    513: [(b"\r\n\r\n", b"\r\n\r\n" + b"x" * 66000)],
}


@pytest.mark.parametrize("status", READABLE)
def test_every_refusal_finds_its_request_and_the_way_back(world, anna, status):
    """RFC 3261 §8.2.6.2, §18.2.1; RFC 3581 §4: also where the message could not be read to its end."""
    via = b"SIP/2.0/UDP 10.0.0.9:5060;rport;branch=z9hG4bKanna1\r\nv: SIP/2.0/TCP further.example"
    data = anna.request("INVITE", "sip:bert@example.org", branch="anna1").to_bytes()
    data = data.replace(b"SIP/2.0/UDP 192.0.2.7:5060;rport;branch=z9hG4bKanna1", via)
    data = data.replace(b"Content-Length: 0\r\n", b"")
    for old, new in READABLE[status]:
        assert old in data
        data = data.replace(old, new, 1)
    world.receive(data, NAT)
    (answer,) = world.sent(NAT)
    assert answer.status == status
    assert answer.values("Via") == [
        "SIP/2.0/UDP 10.0.0.9:5060;rport=40000;branch=z9hG4bKanna1;received=192.0.2.7",
        "SIP/2.0/TCP further.example",
    ]
    assert (answer.from_.tag, answer.call_id, answer.cseq.number) == ("anna", "anna-call", 1)
    assert answer.to.tag
    assert world.empty()


def test_draining_refuses_new_calls_and_keeps_old_ones(world, anna, bert):
    anna.invite("bert")
    (out,) = bert.hears("INVITE")
    world.core.draining = True
    anna.heard()
    anna.say(anna.request("INVITE", "sip:bert@example.org", call_id="second"))
    (answer,) = anna.hears(503)
    assert answer.get("Retry-After") == "5"
    bert.reply(out, 486)
    anna.hears(486)


def test_too_many_calls(anna, bert, world):
    world.settings = type(world.settings)(realm="example.org", secret=b"k" * 32, max_calls=0)
    world.core = world.fresh_core()
    anna.say(anna.request("INVITE", "sip:bert@example.org"))
    assert anna.hears(503)[0].get("Retry-After") == "5"


def test_too_many_transactions(world, anna, bert, talk):
    """What needs one is told to come later; what ends a call that is there needs one too, and ends it later."""
    world.settings = replace(world.settings, max_transactions=2)
    world.core = world.fresh_core()
    for number in range(4):
        request = anna.request("REGISTER", "sip:example.org", to="sip:anna@example.org", call_id=f"r{number}")
        anna.say(request)
        challenges = anna.heard()
        assert challenges[0].status == (401 if number < 2 else 503)
        if number < 2:
            anna.say(anna.authorized(request, challenges[0]))
            anna.hears(200)
        else:
            assert challenges[0].get("Retry-After") == "5"
    assert world.core.counts()["transactions"] == 2
    world.pass_time(70)
    assert anna.register(call_id="later").status == 200


def test_registered_phone_behind_nat_is_called_where_it_came_from(world, anna, bert):
    bert.address = Address("203.0.113.77", 31000)
    assert bert.register(contact="<sip:bert@10.0.0.5:5060>", call_id="nat").status == 200
    anna.invite("bert")
    (out,) = world.sent(bert.address)
    assert out.uri == "sip:bert@10.0.0.5:5060"


def test_contacts_expire_by_themselves(world, bert):
    assert [view.username for view in world.core.bindings()] == ["bert"]
    world.log.clear()
    world.pass_time(3600)
    assert world.effects(SaveBindings) == [SaveBindings("bert", ())]
    assert world.core.bindings() == []
    assert world.core.next_expiry() is None


def test_requests_out_of_order_in_a_dialog(world, anna, bert):
    invite = anna.invite("bert")
    bert.reply(bert.hears("INVITE")[0], 200, ANSWER)
    ok = anna.heard()[-1]
    anna.say(anna.beside(invite, "ACK", to=str(ok.to), branch="a"))
    first, second = anna.within(ok, "INFO"), anna.within(ok, "OPTIONS")
    anna.say(second)
    anna.hears(200)
    anna.say(first)
    anna.hears(500)
    far = anna.within(ok, "OPTIONS").replaced("CSeq", ["2147483647 OPTIONS"])
    anna.say(far)
    anna.hears(200)


def test_views(world, anna, bert):
    anna.invite("bert")
    (view,) = world.core.calls()
    assert (view.state, view.caller, view.dialled) == ("calling", "anna", "bert")
    assert (view.a.peer, view.b.peer) == (anna.address, bert.address)
    assert view.a.call_id == "anna-call"
