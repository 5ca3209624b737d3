# SPDX-License-Identifier: GPL-3.0-or-later
"""The short way of a repeated REGISTER does what the long way does, and is taken where nothing is unusual."""

from __future__ import annotations

import random

import pytest

from sip import refreshes
from sip.digest import Challenge, authorization, ha1
from sip.effects import Address, SaveBindings
from sip.message import Response
from sip.parser import parse
from tests.sip.conftest import REALM, World

SOURCE = Address("192.0.2.7", 40000)


class Pair:
    """Two cores that hear the same: one knows the short way."""

    def __init__(self) -> None:
        self.short, self.long = World(), World()
        self.short.core.refreshes.lookup = self._lookup
        self.taken = 0
        for world in (self.short, self.long):
            world.core.serve_domains(lambda host: host.lower() in (REALM, "198.51.100.1"))

    def _lookup(self, realm: str, username: str) -> dict[str, str] | None:
        self.taken += 1
        word = self.short.passwords.get(username)
        return {name: ha1(name, username, realm, word) for name in ("SHA-256", "MD5")} if word else None

    def say(self, data: bytes, source: Address = SOURCE) -> bytes:
        """What both answer."""
        answers = []
        for world in (self.short, self.long):
            world.receive(data, source)
            sent = [(effect.data, effect.target, effect.local) for _, effect in world.wire]
            saved = [(each.username, each.bindings) for each in world.effects(SaveBindings)]
            world.wire.clear()
            world.log.clear()
            counts = world.core.counts()
            answers.append((sent, saved, [counts[name] for name in ("calls", "dialogs", "questions")]))
        assert answers[0] == answers[1]
        return answers[0][0][0][0] if answers[0][0] else b""

    def pass_time(self, seconds: float) -> None:
        for world in (self.short, self.long):
            world.pass_time(seconds)


class Phone:
    """Repeats its REGISTER as phones do."""

    def __init__(self, pair: Pair, user: str = "anna", call_id: str = "c1") -> None:
        self.pair, self.user, self.call_id, self.number, self.count = pair, user, call_id, 1, 0
        answer = parse(pair.say(self.register()))
        assert isinstance(answer, Response)
        self.challenge = Challenge.of(answer.www_authenticate[0])

    def next(self, password: str = "pa", count: int = 0, extra: str = "") -> bytes:
        self.number += 1
        self.count += not count
        assert self.challenge
        secret = ha1(self.challenge.algorithm, self.user, self.challenge.realm, password)
        value = authorization(
            self.challenge, "REGISTER", f"sip:{REALM}", self.user, ha1=secret, cnonce="c", nc=count or self.count
        )
        return self.register(f"Authorization: {value}\r\n", extra)

    def register(self, credentials: str = "", extra: str = "") -> bytes:
        branch = f"z9hG4bK{self.call_id}-{self.number}"
        return (
            f"REGISTER sip:{REALM} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7:5060;branch={branch};rport\r\n"
            f"From: <sip:{self.user}@{REALM}>;tag=1\r\nTo: <sip:{self.user}@{REALM}>\r\nCall-ID: {self.call_id}\r\n"
            f"CSeq: {self.number} REGISTER\r\nContact: <sip:{self.user}@192.0.2.7:5060>;q=0.5\r\nExpires: 600\r\n"
            f"{extra}Max-Forwards: 70\r\n{credentials}Content-Length: 0\r\n\r\n"
        ).encode()


@pytest.fixture
def pair() -> Pair:
    return Pair()


@pytest.fixture
def phone(pair: Pair) -> Phone:
    phone = Phone(pair)
    assert pair.say(phone.next()).startswith(b"SIP/2.0 200")
    return phone


def test_a_repetition_is_granted_by_the_short_way(pair, phone):
    for _ in range(5):
        before = pair.taken
        pair.pass_time(30)
        assert pair.say(phone.next()).startswith(b"SIP/2.0 200")
        assert pair.taken == before + 1
    assert len(pair.short.core.refreshes) == 1
    pair.pass_time(700)
    assert pair.short.core.bindings() == pair.long.core.bindings() == []
    assert pair.say(phone.next()).startswith(b"SIP/2.0 401")


def test_a_retransmission_hears_the_same_again_without_a_transaction(pair, phone):
    for _ in range(2):
        again = phone.next()
        answers = [pair.say(again)]
        for _ in range(3):
            pair.pass_time(10)
            answers.append(pair.say(again))
        assert answers == answers[:1] * 4
        assert pair.short.core.counts()["transactions"] == 0
        pair.pass_time(3)
        assert pair.say(again).startswith(b"SIP/2.0 401")
        pair.pass_time(40)


def test_of_the_first_one_too(pair):
    phone = Phone(pair)
    first = phone.next()
    answer, before = pair.say(first), pair.taken
    assert pair.say(first) == answer
    assert pair.taken == before
    assert pair.short.core.counts()["transactions"] == 0


def test_who_is_overloaded_answers_a_retransmission_and_nothing_else(pair, phone):
    again = phone.next()
    answer = pair.say(again)
    for world in (pair.short, pair.long):
        world.core.overloaded = True
    assert pair.say(again) == answer
    assert pair.say(phone.next()).startswith(b"SIP/2.0 503")


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda phone: phone.next(password="wrong"), 401),
        (lambda phone: phone.next(count=1), 401),
        (lambda phone: phone.next(extra="Require: x\r\n"), 420),
        (lambda phone: phone.next(extra="Via: SIP/2.0/UDP other\r\n"), 200),
        (lambda phone: phone.next(extra="v: SIP/2.0/UDP other\r\n"), 200),
        (lambda phone: phone.next(extra="CSeq: 9 REGISTER\r\n"), 400),
        (lambda phone: phone.next(extra=" folded\r\n"), 200),
        (lambda phone: phone.next().replace(b"Expires: 600", b"Expires: 10"), 423),
        (lambda phone: phone.next().replace(b"Expires: 600", b"Expires: 0"), 200),
        (lambda phone: phone.next().replace(b"Expires: 600", b"Expires: 900"), 200),
        (lambda phone: phone.next().replace(b"CSeq: 3 ", b"CSeq: 1 "), 400),
        (lambda phone: phone.next().replace(b"CSeq: 3 REGISTER", b"CSeq: 3 INVITE"), 400),
        (lambda phone: phone.next().replace(b"CSeq: 3", b"CSeq: 00003"), 200),
        (lambda phone: phone.next().replace(b"branch=z9hG4bKc1-3", b"branch=3"), 200),
        (lambda phone: phone.next().replace(b";rport", b";rport;rport"), 200),
        (lambda phone: phone.next().replace(b";rport", b""), 200),
        (lambda phone: phone.next().replace(b"192.0.2.7:5060;branch", b"phone:65000;branch"), 200),
        (lambda phone: phone.next().replace(b"5060>;q", b"5070>;q"), 200),
        (lambda phone: phone.next().replace(b"UDP", b"TLS"), 200),
        (lambda phone: phone.next() + b"body", 200),
        (lambda phone: phone.next().replace(b"\r\nMax", b"\nMax"), 400),
        (lambda phone: phone.next().replace(b"Digest ", b"Digest  "), 200),
        (lambda phone: phone.next().replace(b'cnonce="c"', b'cnonce="c\x01"'), 400),
        (lambda phone: phone.next().replace(b"username=", b"user="), 401),
    ],
)
def test_what_is_unusual_is_answered_as_ever(pair, phone, change, status):
    assert pair.say(change(phone)).startswith(b"SIP/2.0 %d" % status)
    pair.say(phone.next())
    pair.say(phone.next())


def test_another_source_another_phone_and_another_password(pair, phone):
    assert pair.say(phone.next(), Address("192.0.2.7", 40001)).startswith(b"SIP/2.0 200")
    other = Phone(pair, call_id="c2")
    elsewhere = other.next(extra="Subject: other\r\n").replace(b"192.0.2.7:5060>", b"192.0.2.8>")
    assert pair.say(elsewhere).count(b"Contact") == 2
    assert pair.say(phone.next()).count(b"Contact") == 2
    pair.short.passwords["anna"] = pair.long.passwords["anna"] = "new"
    assert pair.say(phone.next()).startswith(b"SIP/2.0 401")
    del pair.short.passwords["anna"], pair.long.passwords["anna"]
    assert pair.say(phone.next(password="new")).startswith(b"SIP/2.0 401")


def test_what_begins_with_an_empty_line_is_not_taken_for_another(pair, phone):
    other = Phone(pair, user="bert", call_id="c2")
    assert pair.say(b"\r\n" + other.next(password="pb")).startswith(b"SIP/2.0 200")
    for _ in range(2):
        assert pair.say(phone.next()).startswith(b"SIP/2.0 200")
        assert b"bert" in pair.say(other.next(password="pb"))


def test_what_is_damaged_is_answered_as_ever(pair, phone):
    dice = random.Random(5)
    for _ in range(1500):
        data = bytearray(phone.next())
        place = dice.randrange(len(data))
        data[place : place + dice.randrange(3)] = dice.choice([b"", b"x", b";", b"\r\n", b" ", b"0", b"Via: "])
        pair.say(bytes(data))
        if dice.random() < 0.2:
            pair.say(phone.next())
    pair.pass_time(400)
    assert pair.short.core.bindings() == pair.long.core.bindings()


def test_no_more_is_remembered_than_allowed(monkeypatch):
    monkeypatch.setattr(refreshes, "MAX_REMEMBERED", 4)
    pair = Pair()
    for number in range(6):
        one = Phone(pair, call_id=f"c{number}")
        pair.say(one.next())
    assert len(pair.short.core.refreshes) == 4


def test_the_same_from_elsewhere_is_no_repetition(pair, phone):
    elsewhere = Address("192.0.2.8", 40000)
    before = pair.taken
    assert pair.say(phone.next(), elsewhere).startswith(b"SIP/2.0 200")
    assert pair.taken == before


def test_headers_may_be_spelled_as_they_like(pair):
    compact = Phone(pair)
    spelled = [compact.next().replace(b"From: ", b"f :\t").replace(b"Call-ID: ", b"i:") for _ in range(3)]
    before = pair.taken
    assert all(pair.say(each).startswith(b"SIP/2.0 200") for each in spelled)
    assert pair.taken == before + 2
