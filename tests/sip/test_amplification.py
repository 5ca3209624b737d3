# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever forges the source of datagrams hits it hardly harder through us than by itself, and phones notice nothing."""

from __future__ import annotations

import pytest

from sip.agent import ALLOW
from sip.defence import CREDIT, CREDIT_OF_ALL
from sip.effects import Address, Authenticate, Send
from sip.message import Response
from sip.parser import parse
from tests.sip.conftest import SERVER, Peer, World

VICTIM = Address("198.51.100.66", 40000)
YEALINK = b"""REGISTER sip:example.org SIP/2.0\r
Via: SIP/2.0/UDP 192.168.1.20:5060;branch=z9hG4bK3232422111;rport\r
From: "Anna" <sip:anna@example.org>;tag=2210394821\r
To: "Anna" <sip:anna@example.org>\r
Call-ID: 0_3324554@192.168.1.20\r
CSeq: 1 REGISTER\r
Contact: <sip:anna@192.168.1.20:5060>\r
Allow: INVITE, INFO, PRACK, ACK, BYE, CANCEL, OPTIONS, NOTIFY, REGISTER, SUBSCRIBE, REFER, PUBLISH, UPDATE, MESSAGE\r
Max-Forwards: 70\r
User-Agent: Yealink SIP-T46S 66.85.0.5\r
Expires: 3600\r
Allow-Events: talk,hold,conference,refer,check-sync\r
Content-Length: 0\r
\r
"""
BARESIP = b"""REGISTER sip:example.org SIP/2.0\r
Via: SIP/2.0/UDP 192.168.1.20:5060;branch=z9hG4bK3232422111abcd;rport\r
Contact: <sip:anna-0x5581f7c2a3b0@192.168.1.20:5060>;expires=3600;+sip.instance="<urn:uuid:f81d4fae-7dec-11d0-a765>"\r
Max-Forwards: 70\r
To: <sip:anna@example.org>\r
From: <sip:anna@example.org>;tag=2210394821abcdef\r
Call-ID: 33245544a0c2b3d4\r
CSeq: 1 REGISTER\r
User-Agent: baresip v1.0.0 (x86_64/linux)\r
Allow: INVITE,ACK,BYE,CANCEL,OPTIONS,NOTIFY,INFO,MESSAGE,UPDATE,REFER\r
Supported: gruu\r
Content-Length: 0\r
\r
"""
KAMAILIO = b"""OPTIONS sip:198.51.100.1 SIP/2.0\r
Via: SIP/2.0/UDP 192.168.1.20:5060;branch=z9hG4bKcb9.3d3a6d77000000000000000000000000.0\r
To: <sip:198.51.100.1>\r
From: <sip:dispatcher@localhost>;tag=1d4e9ad3b0ee0a6b8cd7d3c6dbf1d7d2-c8f4\r
CSeq: 10 OPTIONS\r
Call-ID: 5b2c4d5d6d7e8f90-1234@192.168.1.20\r
Max-Forwards: 70\r
Content-Length: 0\r
User-Agent: kamailio (5.6.3 (x86_64/linux))\r
\r
"""
CREDENTIALS = (
    'Digest realm="example.org",nonce="1",username="a",uri="sip:a@b",response="1",algorithm=MD5,qop=auth,'
    'nc=00000001,cnonce="1"'
)
BINDING = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(range(12))


@pytest.fixture
def world() -> World:
    return World(amplification=1.2)


def tiny(method: str, *lines: str, number: int = 0, to: str = "<sip:a@b>") -> bytes:
    """About as short as a request of a transaction of its own can be."""
    head = (f"{method} sip:a@b SIP/2.0", f"v: SIP/2.0/UDP a;branch=z9hG4bK{number}", "f: <sip:a@b>;tag=1", f"t: {to}")
    return "\r\n".join([*head, f"i: {number}", f"CSeq: 1 {method}", "m: <sip:a@b>", *lines, "", ""]).encode()


REQUESTS = {method: (method,) for method in (*ALLOW, "SUBSCRIBE", "MESSAGE", "BREW")} | {
    "wrong password to register": ("REGISTER", f"Authorization: {CREDENTIALS}"),
    "wrong password to call": ("INVITE", f"Proxy-Authorization: {CREDENTIALS}"),
    "no hops left": ("INVITE", "Max-Forwards: 0"),
    "extension": ("OPTIONS", "Require: x, y, z"),
    "malformed": ("OPTIONS", "Max-Forwards: x"),
}


def heard(world: World) -> int:
    """Bytes that went out, by the time that nobody repeats anything any more."""
    world.pass_time(64)
    sent, world.wire = sum(len(effect.data) for _, effect in world.wire), []
    return sent


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_forged_source_hears_hardly_more_than_was_sent_in_its_name(world, kind):
    sent = 0
    for number in range(300):
        data = tiny(*REQUESTS[kind], number=number)
        world.receive(data, VICTIM)
        sent += len(data)
    assert heard(world) <= 1.2 * sent + CREDIT
    assert world.empty()


def test_neither_do_thousands_of_forged_sources_together(world):
    sent = 0
    for number in range(2000):
        data = tiny("REGISTER", number=number)
        world.receive(data, Address(f"198.51.{number % 250}.{number // 250}", 5060))
        sent += len(data)
    assert CREDIT_OF_ALL < heard(world) <= 1.2 * sent + CREDIT_OF_ALL


def test_a_short_request_of_a_long_transaction_is_not_answered_at_length(world):
    long = "x" * 1200
    world.receive(tiny("INVITE", f"Proxy-Authorization: {CREDENTIALS}", to=f'"{long}" <sip:a@b>'), VICTIM)
    assert heard(world) > len(long)
    sent = 0
    for _ in range(50):
        data = tiny("INVITE", f"Proxy-Authorization: {CREDENTIALS}")
        world.receive(data, VICTIM)
        sent += len(data)
    assert heard(world) <= 1.2 * sent + CREDIT


def test_a_call_withdrawn_before_its_caller_is_known_is_refused_once(world):
    invite = tiny("INVITE", f"Proxy-Authorization: {CREDENTIALS}")
    effects = [
        *world.core.receive(invite, VICTIM, SERVER, 1000.0),
        *world.core.receive(tiny("CANCEL"), VICTIM, SERVER, 1000.0),
    ]
    assert [type(effect) for effect in effects] == [Authenticate, Send, Send]
    world.run(effects[1:])
    world.pass_time(64)
    assert [parse(effect.data).status for _, effect in world.wire] == [200, 487]
    assert world.empty()


@pytest.mark.parametrize("register", [YEALINK, BARESIP], ids=["yealink", "baresip"])
@pytest.mark.parametrize("fresh", [True, False])
def test_a_phone_is_asked_for_either_digest_whatever_was_sent_in_its_name(world, register, fresh):
    if not fresh:
        for number in range(3000):
            world.receive(tiny("REGISTER", number=number), Address(VICTIM.host, 5060 + number))
            world.receive(tiny("REGISTER", number=number), Address(f"198.51.{number % 250}.{number // 250}", 5060))
        world.wire.clear()
    world.receive(register, VICTIM)
    ((_, effect),) = world.wire
    response = parse(effect.data)
    assert isinstance(response, Response)
    assert response.status == 401
    assert [value.params["algorithm"] for value in response.www_authenticate] == ["SHA-256", "MD5"]


def test_a_short_register_is_asked_for_the_digest_that_everybody_knows(world):
    anna = Peer(world, "anna", VICTIM.host)
    request = anna.request("REGISTER", "sip:example.org", to="sip:anna@example.org")
    anna.say(request)
    (challenge,) = anna.hears(401)
    assert [value.params["algorithm"] for value in challenge.www_authenticate] == ["MD5"]
    assert "server" not in challenge
    anna.say(anna.authorized(request, challenge))
    (granted,) = anna.hears(200)
    assert granted.get("server") == "voxdp"


def test_the_only_digest_there_is_is_asked_for():
    world = World(amplification=1.2, algorithms=("SHA-256",))
    world.receive(tiny("REGISTER"), VICTIM)
    ((_, effect),) = world.wire
    assert [value.params["algorithm"] for value in parse(effect.data).www_authenticate] == ["SHA-256"]


def test_a_proxy_that_asks_whether_we_are_there_is_told_so_as_often_as_it_likes(world):
    for _ in range(100):
        world.receive(KAMAILIO, VICTIM)
    assert [parse(effect.data).status for _, effect in world.wire] == [200] * 100
    assert world.core.defence.dropped["amplification"] == 0


def test_what_is_not_answered_is_counted(world):
    for number in range(100):
        world.receive(tiny("REGISTER", number=number), VICTIM)
    assert world.core.defence.dropped["amplification"] == 100 - len(world.wire) > 0


def test_a_method_that_there_is_not_is_refused_with_those_there_are_as_long_as_there_is_credit(world):
    """RFC 3261 §8.2.1 wants that; without credit it is still refused, and that is all."""
    for number in range(100):
        world.receive(tiny("SUBSCRIBE", "Event: presence", "Accept: application/pidf+xml", number=number), VICTIM)
    answers = [parse(effect.data) for _, effect in world.wire]
    assert [answer.status for answer in answers] == [405] * 100
    named = [answer.allow for answer in answers]
    assert named[:10] == [ALLOW] * 10
    assert named[-10:] == [()] * 10
    assert world.core.defence.dropped["amplification"] == 0


@pytest.mark.parametrize("how", ["a user has registered there", "it has connected"])
def test_who_is_there_for_sure_is_answered_in_full(world, how):
    anna = Peer(world, "anna", VICTIM.host)
    if how == "it has connected":
        anna.address = Address(VICTIM.host, VICTIM.port, "tcp", inbound=True)
    else:
        assert anna.register().status == 200
    for _ in range(50):
        anna.say(anna.request("OPTIONS", "sip:example.org"))
    assert all("allow" in response for response in anna.hears(*[200] * 50))


def test_stun_is_answered_in_proportion_too(world):
    for _ in range(1000):
        world.receive(BINDING, VICTIM)
    assert CREDIT < heard(world) <= 1.2 * 1000 * len(BINDING) + CREDIT
