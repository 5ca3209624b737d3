# SPDX-License-Identifier: GPL-3.0-or-later
"""The short way for phones that are not there does what the long way does, and tells nobody who there is."""

from __future__ import annotations

import random
import sys

import pytest

from sip.effects import Address
from tests.sip.conftest import World
from tests.sip.test_refreshes import Pair, Phone


@pytest.fixture
def pair() -> Pair:
    return Pair()


def both(pair):
    return pair.short, pair.long


STRANGER = Address("198.51.100.66", 5060)


def calls_of(pair, data):
    """Function calls of the core that a stranger's REGISTER takes, but for the hashes that are stored otherwise."""
    called = 0

    def count(frame, event, argument):
        nonlocal called
        stored = "ha1" in (frame.f_code.co_name, frame.f_back.f_code.co_name)
        ours = "/sip/" in frame.f_code.co_filename.replace("/tests/sip/", "")
        called += event in ("call", "c_call") and ours and not stored

    pair.say(data, STRANGER)  # what is remembered of having been read
    again = data.replace(b"z9hG4bK", b"z9hG4bKx")
    sys.setprofile(count)
    try:
        pair.short.receive(again, STRANGER)
    finally:
        sys.setprofile(None)
    pair.long.receive(again, STRANGER)
    for world in both(pair):
        world.wire.clear()
        world.log.clear()
    return called


def test_a_new_phone_is_challenged_and_granted_without_a_transaction(pair):
    phone = Phone(pair)
    assert pair.say(phone.next()).startswith(b"SIP/2.0 200")
    assert pair.taken == 1
    assert pair.short.core.counts()["transactions"] == 0
    assert pair.short.core.bindings() == pair.long.core.bindings() != []
    assert len(pair.short.core.refreshes) == 1
    assert pair.say(phone.next()).startswith(b"SIP/2.0 200")
    pair.pass_time(700)
    assert pair.short.core.bindings() == pair.long.core.bindings() == []


def test_a_retransmission_of_the_first_ones_is_answered(pair):
    phone = Phone(pair)
    assert pair.say(phone.register()).startswith(b"SIP/2.0 401")
    first = phone.next()
    answer = pair.say(first)
    assert pair.say(first) == answer
    assert pair.taken == 1


CHANGES = [
    (b"Expires: 600", b"Expires: 10"),
    (b"Expires: 600", b"Expires: 0"),
    (b"Expires: 600", b"Expires: x"),
    (b"Expires: 600\r\n", b""),
    (b"Expires: 600", b"Expires: 999999999"),
    (b"Expires: 600", b"Expires: 600\r\nExpires: 600"),
    (b";q=0.5", b""),
    (b";q=0.5", b";expires=60"),
    (b";q=0.5", b";expires=5"),
    (b";q=0.5", b";expires=0"),
    (b";q=0.5", b",<sip:other@192.0.2.7>"),
    (b"Contact: <sip:anna@192.0.2.7:5060>;q=0.5", b"Contact: *"),
    (b"Contact: <sip:anna@192.0.2.7:5060>;q=0.5\r\n", b""),
    (b"Contact: <sip:", b"Contact: <tel:"),
    (b"Contact: <sip:anna@192.0.2.7:5060>", b'Contact: "A B" <sip:anna@10.0.0.9:5062;transport=udp;ob>'),
    (b"192.0.2.7:5060;branch", b"10.0.0.9;branch"),
    (b";rport", b""),
    (b";branch", b";rport;branch"),
    (b"z9hG4bK", b""),
    (b"Max-Forwards: 70", b"Max-Forwards: 0"),
    (b"Max-Forwards: 70", b"Max-Forwards: 300"),
    (b"Max-Forwards: 70", b"Max-Forwards: 70\r\nRequire: path"),
    (b"Max-Forwards: 70", b"Max-Forwards: 70\r\nRequire: x"),
    (b"Max-Forwards: 70", b"Max-Forwards: 70\r\nProxy-Require: x"),
    (b"Max-Forwards: 70", b"Max-Forwards: 70\r\nPath: <sip:198.51.100.1;lr>"),
    (b"Max-Forwards: 70", b"Max-Forwards: 70\r\nUser-Agent: A phone/1.0 (x)"),
    (b"Max-Forwards: 70", b"Max-Forwards: 70\r\nUser-Agent: friendly-scanner"),
    (
        b"Max-Forwards: 70",
        b"Max-Forwards: 70\r\nAllow: INVITE, ACK\r\nSupported: path, outbound\r\nAllow-Events: refer",
    ),
    (b"Max-Forwards: 70", b"Max-Forwards: 70\r\nAuthorization: Basic abc"),
    (b"Max-Forwards: 70", b"Max-Forwards: 70\r\nRoute: <sip:[>"),
    (b"To: <sip:anna@", b"To: <sip:bert@"),
    (b"To: <sip:anna@", b"To: <sip:%61nna@"),
    (b"To: <sip:anna@", b"To: <sip:"),
    (b"To: <sip:anna@example.org>", b"To: <sip:anna@example.org>;tag=9"),
    (b"From: <sip:anna@", b"From: <sip:carla@"),
    (b";tag=1", b""),
    (b"From: ", b"f: "),
    (b"From: ", b"From:  "),
    (b"REGISTER sip:", b"REGISTER tel:"),
    (b"REGISTER sip:example.org", b"REGISTER sip:198.51.100.1:5060"),
    (b"REGISTER sip:example.org", b"REGISTER sip:example.net"),
    (b"To: <sip:anna@example.org", b"To: <sip:anna@Example.Org:5060"),
    (b"To: <sip:anna@example.org", b"To: <sip:anna@example.net"),
    (b"Contact: <sip:", b"Contact: <sips:"),
    (b"REGISTER sip:", b"REGISTER sip:anna@"),
    (b"Call-ID: c1", b"Call-ID: c 1"),
    (b"Call-ID: c1\r\n", b""),
    (b" REGISTER\r\n", b" INVITE\r\n"),
    (b"CSeq: ", b"CSeq: 99999999999"),
    (b"Content-Length: 0", b"Content-Length: 5"),
    (b"Content-Length: 0\r\n", b""),
    (b"Content-Length: 0", b"l: 0"),
    (b"nc=0000000", b"nc=000000"),
    (b"qop=auth", b"qop=auth-int"),
    (b"algorithm=SHA-256", b"algorithm=SHA-1"),
    (b'username="anna"', b'username="bert"'),
    (b'username="anna"', b'username="nobody"'),
    (b"Digest ", b"Basic "),
    (b'response="', b'response="0'),
]


@pytest.mark.parametrize(("former", "latter"), CHANGES)
def test_what_is_unusual_is_answered_as_ever(pair, former, latter):
    phone = Phone(pair)
    pair.say(phone.register().replace(former, latter))
    changed = phone.next()
    for _ in range(2):
        pair.say(changed.replace(former, latter))
    pair.say(phone.next())
    assert pair.short.core.bindings() == pair.long.core.bindings()


def test_what_is_damaged_is_answered_as_ever():
    dice = random.Random(7)
    for number in range(40):
        pair = Pair()
        phone = Phone(pair, call_id=f"c{number}")
        for _ in range(25):
            phone.number += 1
            data = bytearray(phone.next() if dice.random() < 0.6 else phone.register())
            place = dice.randrange(len(data))
            data[place : place + dice.randrange(3)] = dice.choice(
                [b"", b"x", b";", b"\r\n", b" ", b"0", b"\t", b"\xc3", b"To: ", b",", b'"', b"%41", b"<", b">"]
            )
            pair.say(bytes(data))
        pair.say(phone.next())
        assert pair.short.core.bindings() == pair.long.core.bindings()


def test_neither_work_nor_answer_tells_who_there_is_and_who_is_registered(pair):
    registered, known, unknown = (Phone(pair, user, f"c-{user}") for user in ("anna", "bert", "who"))
    assert pair.say(registered.next()).startswith(b"SIP/2.0 200")
    registered.call_id += "x"  # no repetition of what was granted
    first, *others = (calls_of(pair, phone.register()) for phone in (registered, known, unknown))
    assert others == [first, first]
    first, *others = (calls_of(pair, phone.next(password="guess")) for phone in (registered, known, unknown))
    assert others == [first, first]
    answers = [pair.say(phone.next(password="guess")) for phone in (registered, known, unknown)]
    assert all(each.startswith(b"SIP/2.0 401") for each in answers)


def test_too_many_guesses_lock_out_here_too(pair):
    phone = Phone(pair)
    answers = [pair.say(phone.next(password="guess"))[:11] for _ in range(10)]
    assert answers[-1] == b"SIP/2.0 403"
    assert pair.say(phone.next()).startswith(b"SIP/2.0 403")
    assert pair.short.core.bindings() == []


def test_a_nonce_that_is_old_or_used_up_is_stale(pair):
    phone, other = Phone(pair), Phone(pair, "bert", "c2")
    assert pair.say(phone.next()).startswith(b"SIP/2.0 200")
    other.challenge = phone.challenge
    assert b"stale=true" in pair.say(other.next(password="pb"))
    pair.pass_time(400)
    late = Phone(pair, "bert", "c3")
    late.challenge = phone.challenge
    assert b"stale=true" in pair.say(late.next(password="pb"))


def test_who_has_no_time_or_no_room_says_so(pair):
    phone = Phone(pair)
    for world in both(pair):
        world.core.overloaded = True
    assert pair.say(phone.register()).startswith(b"SIP/2.0 503")
    assert pair.say(phone.next()).startswith(b"SIP/2.0 503")


def test_another_contact_is_for_the_long_way(pair):
    phone, other = Phone(pair), Phone(pair, call_id="c2")
    assert pair.say(phone.next()).startswith(b"SIP/2.0 200")
    elsewhere = Address("192.0.2.8", 40000)
    assert pair.say(other.next().replace(b"192.0.2.7:5060>", b"192.0.2.8>"), elsewhere).count(b"Contact") == 2


def test_a_phone_behind_nat_is_kept_reachable(pair):
    pair.short, pair.long = World(nat_keepalive=25), World(nat_keepalive=25)
    pair.short.core.refreshes.lookup = pair._lookup
    phone = Phone(pair)
    behind = phone.next().replace(b"anna@192.0.2.7:5060", b"anna@10.0.0.9:5060")
    assert pair.say(behind).startswith(b"SIP/2.0 200")
    pair.pass_time(60)
    kept = [[effect.data[:7] for _, effect in world.wire] for world in both(pair)]
    assert kept[0] == kept[1] == [b"OPTIONS"] * 2


def test_contacts_that_end_together_share_a_timer_and_each_ends_in_time(pair):
    for user in ("anna", "bert"):
        word = {"anna": "pa", "bert": "pb"}[user]
        assert pair.say(Phone(pair, user, f"c-{user}").next(password=word)).startswith(b"SIP/2.0 200")
    assert pair.short.core.counts()["timers"] == 1
    pair.pass_time(601)
    assert pair.short.core.bindings() == []
    assert pair.short.core.counts()["timers"] == 0
