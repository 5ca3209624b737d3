# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import random
from collections import Counter

import pytest

from sip.locate import Naptr, Srv, Wanted, guesses, ordered, services
from sip.uri import Uri


def wanted(text: str) -> Wanted:
    return Wanted.of(Uri.parse(text))


@pytest.mark.parametrize(
    ("uri", "names"),
    [
        ("sip:example.org", ["_sip._udp.example.org", "_sip._tcp.example.org", "_sips._tcp.example.org"]),
        ("sip:a@Example.ORG.;transport=TCP", ["_sip._tcp.example.org"]),
        ("sips:a@example.org", ["_sips._tcp.example.org"]),
        ("sips:a@example.org;transport=tcp", ["_sips._tcp.example.org"]),
        ("sip:a@example.org;transport=ws", []),
    ],
)
def test_which_services_are_asked_for_without_naptr(uri, names):
    assert [name for _, name in guesses(wanted(uri))] == names


def test_naptr_by_order_and_preference_and_only_what_we_speak():
    records = [
        Naptr(50, 50, "s", "SIP+D2U", "_sip._udp.b."),
        Naptr(50, 10, "S", "sips+d2t", "_sips._tcp.a."),
        Naptr(10, 10, "s", "SIP+D2S", "_sip._sctp.a."),
        Naptr(10, 10, "u", "SIP+D2T", "!x!y!"),
        Naptr(90, 10, "s", "SIP+D2T", "_sip._tcp.c."),
    ]
    assert services(records, wanted("sip:a")) == [
        ("tls", "_sips._tcp.a"),
        ("udp", "_sip._udp.b"),
        ("tcp", "_sip._tcp.c"),
    ]
    assert services(records, wanted("sips:a")) == [("tls", "_sips._tcp.a")]


def test_srv_by_priority_and_then_at_random_by_weight():
    records = [Srv(20, 0, 1, "c"), Srv(10, 30, 2, "a"), Srv(10, 60, 3, "b"), Srv(10, 0, 4, "d")]
    dice = random.Random(3)
    firsts: Counter[str] = Counter()
    for _ in range(3000):
        found = ordered(records, lambda limit: dice.randint(0, limit))
        assert sorted(found[:3], key=str) == sorted(records[1:], key=str)
        assert found[3] == records[0]
        firsts[found[0].target] += 1
    assert 1.7 < firsts["b"] / firsts["a"] < 2.4
    assert firsts["d"] < 100


def test_a_service_that_is_declared_absent_is():
    assert ordered([Srv(0, 0, 0, ".")], lambda limit: 0) == []


@pytest.mark.parametrize(
    ("uri", "fallback"),
    [
        ("sip:a", ("udp", 5060)),
        ("sip:a:5070", ("udp", 5070)),
        ("sips:a", ("tls", 5061)),
        ("sip:a;transport=tcp", ("tcp", 5060)),
        ("sip:a;transport=tls", ("tls", 5061)),
    ],
)
def test_what_an_address_alone_means(uri, fallback):
    assert wanted(uri).fallback == fallback
