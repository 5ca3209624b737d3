# SPDX-License-Identifier: GPL-3.0-or-later
"""What is offered on, agreed and answered about SRTP: for every policy, offer and answer, and for damaged lines."""

import itertools
import random
from base64 import b64encode

import pytest
from media._engine import lib

from ctl.sessions.security import (
    OFFERED_SUITES,
    PLAIN,
    Bridge,
    CryptoLine,
    Insecure,
    Policy,
    Protection,
    Spoken,
    agree,
    agree_all,
    answer,
    attempts,
    bridged,
    of_both,
    propose,
    shared,
)
from media.engine_structs import SUITES
from media.flows import SUITE_KEY_BYTES

OURS = "sha-256 " + ":".join(["AA"] * 32)
PEER = "sha-256 " + ":".join(["BB"] * 32)
POLICIES: tuple[Policy, ...] = ("off", "preferred", "required")


def line(suite: str = "AES_CM_128_HMAC_SHA1_80", tag: int = 1, seed: int = 1, **more: str) -> CryptoLine:
    key = random.Random(seed).randbytes(SUITE_KEY_BYTES.get(suite, 30))
    return CryptoLine(tag, suite, b64encode(key).decode(), **more)


def draw(count: int) -> bytes:
    return bytes(count)


def taken(offered: CryptoLine) -> CryptoLine:
    """An answer to a line: the same suite and tag, another key."""
    return line(offered.suite, offered.tag, seed=2)


OFFERS = {
    "plain": Spoken("RTP/AVP"),
    "opportunistic": Spoken("RTP/AVP", (line(),)),
    "sdes": Spoken("RTP/SAVP", (line("AEAD_AES_256_GCM", 1), line(tag=2))),
    "dtls": Spoken("UDP/TLS/RTP/SAVPF", (), PEER, "actpass"),
}
ANSWERS = {
    "plain": lambda proposed: Spoken(proposed.protocol),
    "sdes": lambda proposed: Spoken(proposed.protocol, (taken(proposed.cryptos[-1]),)),
    "dtls": lambda proposed: Spoken(proposed.protocol, (), PEER, "active"),
}


def test_the_suites_are_the_engines() -> None:
    assert {suite: lib.srtp_master_length(number) for suite, number in SUITES.items()} == SUITE_KEY_BYTES
    assert set(OFFERED_SUITES) < set(SUITES)


@pytest.mark.parametrize(("policy", "offer", "said"), [*itertools.product(POLICIES, OFFERS, ANSWERS)])
def test_no_policy_is_ever_undercut(policy: Policy, offer: str, said: str) -> None:
    """Required: both legs are protected or the call is refused. Off: none is. Else as each party wants it."""
    offered = OFFERS[offer]
    try:
        proposed = propose(offered, policy, OURS, draw)
        if said == "sdes" and not proposed.cryptos:
            return
        theirs = agree(proposed, ANSWERS[said](proposed))
        ours, answered = answer(offered, policy, theirs, PLAIN, OURS, draw)
    except Insecure:
        assert policy == "required" or (policy == "off" and offered.secured)
        return
    assert answered.protocol == offered.protocol
    if policy == "required":
        assert PLAIN not in (ours, theirs)
    if policy == "off":
        assert ours == theirs == PLAIN
        assert not any(each.touched for each in (answered, proposed))
    if policy == "preferred" and offer != "plain":
        assert ours != PLAIN
        assert (theirs == PLAIN) == (said == "plain")
    assert offered.secured <= (ours != PLAIN)


@pytest.mark.parametrize(("here", "there"), [*itertools.product(POLICIES, POLICIES)])
def test_each_party_has_its_own_policy_and_who_requires_srtp_requires_it_of_both(here: Policy, there: Policy) -> None:
    if {here, there} == {"off", "required"}:
        with pytest.raises(Insecure, match="required by one party"):
            of_both(here, there)
        return
    mine, theirs = of_both(here, there)
    for offered, said, attempt in itertools.product(OFFERS.values(), ANSWERS.values(), range(3)):
        proposed = offered
        try:
            proposed = propose(offered, mine, OURS, draw, attempt=attempt, toward=theirs)
            if said is ANSWERS["sdes"] and not proposed.cryptos:
                continue
            other = agree(proposed, said(proposed))
            ours, answered = answer(offered, mine, other, PLAIN, OURS, draw)
        except Insecure:
            assert mine == "required" or offered.secured or proposed.secured
            continue
        assert answered.protocol == offered.protocol
        assert mine != "required" or PLAIN not in (ours, other)
        assert mine != "off" or not (answered.touched or ours != PLAIN)
        assert theirs != "off" or not (proposed.touched or other != PLAIN)


@pytest.mark.parametrize(
    ("suites", "left"),
    [
        (None, ["AES_CM_128_HMAC_SHA1_80", "AEAD_AES_256_GCM", "AEAD_AES_128_GCM", "AES_256_CM_HMAC_SHA1_80"]),
        (frozenset({"AEAD_AES_256_GCM"}), ["AEAD_AES_256_GCM"]),
    ],
)
def test_suites_that_a_caller_has_not_are_offered_after_its_own(suites: frozenset[str] | None, left: list[str]) -> None:
    """Where a profile is asked for: who takes one of those has keys of ours, and the caller keeps its own."""
    theirs = line(tag=7)
    offer = Spoken("RTP/SAVP", (theirs,))
    proposed = bridged(offer, Bridge("RTP/SAVP", dtls=False, suites=suites), "preferred", OURS, draw)
    assert [each.suite for each in proposed.cryptos] == left
    assert len({each.tag for each in proposed.cryptos}) == len(left)
    chosen = next(each for each in proposed.cryptos if each.suite == "AEAD_AES_256_GCM")
    callee = agree(proposed, Spoken("RTP/SAVP", (taken(chosen),)))
    caller, answered = answer(offer, "preferred", callee, PLAIN, OURS, draw)
    assert (callee.receives, caller.sends) == (chosen, theirs)
    assert [(each.tag, each.suite) for each in answered.cryptos] == [(7, "AES_CM_128_HMAC_SHA1_80")]
    assert not shared(caller, callee)


def test_a_callers_keys_are_offered_on_and_shared() -> None:
    offered = OFFERS["sdes"]
    proposed = propose(offered, "required", OURS, draw)
    assert (proposed.protocol, proposed.cryptos, proposed.fingerprint) == ("RTP/SAVP", offered.cryptos, OURS)
    bob = line(tag=2, seed=9)
    theirs = agree(proposed, Spoken("RTP/SAVP", (bob,)))
    ours, answered = answer(offered, "required", theirs, PLAIN, OURS, draw)
    assert answered.cryptos == (bob,)
    assert shared(ours, theirs)
    assert shared(theirs, ours)


@pytest.mark.parametrize(
    ("policy", "offer", "profiles"),
    [
        ("off", "plain", ["RTP/AVP"]),
        ("preferred", "plain", ["RTP/AVP", "RTP/SAVP", "UDP/TLS/RTP/SAVPF"]),
        ("preferred", "sdes", ["RTP/AVP", "RTP/SAVP", "UDP/TLS/RTP/SAVPF"]),
        ("preferred", "dtls", ["RTP/AVP", "UDP/TLS/RTP/SAVPF", "RTP/SAVP"]),
        ("required", "sdes", ["RTP/SAVP", "RTP/SAVP", "UDP/TLS/RTP/SAVPF"]),
        ("required", "dtls", ["UDP/TLS/RTP/SAVPF", "RTP/SAVP"]),
    ],
)
def test_each_refusal_leads_to_another_profile(policy: Policy, offer: str, profiles: list[str]) -> None:
    count = attempts(policy, [OFFERS[offer]])
    tried = [propose(OFFERS[offer], policy, OURS, draw, attempt=i).protocol for i in range(count)]
    assert tried == profiles
    again = [propose(OFFERS[offer], policy, OURS, draw, before=profile).protocol for profile in profiles]
    assert again == profiles


@pytest.mark.parametrize("policy", ["preferred", "required"])
@pytest.mark.parametrize("before", ["", "RTP/SAVP"])
def test_who_has_none_of_the_suites_that_are_offered_gets_keys_of_ours(policy: Policy, before: str) -> None:
    """It refuses those first; in a change later it is offered at once what it may have agreed to."""
    theirs = line("AES_CM_128_HMAC_SHA1_32", tag=7)
    offer = Spoken("RTP/SAVP", (theirs,))
    first, again = (propose(offer, policy, OURS, draw, before, attempt) for attempt in (0, 1))
    proposed = first if before else again
    assert before or first.cryptos == (theirs,)
    assert (proposed.protocol, proposed.cryptos[0]) == ("RTP/SAVP", theirs)
    assert {each.suite for each in proposed.cryptos} == {theirs.suite, *OFFERED_SUITES}
    chosen = next(each for each in proposed.cryptos if each.suite == "AEAD_AES_256_GCM")
    callee = agree(proposed, Spoken("RTP/SAVP", (taken(chosen),)))
    caller, answered = answer(offer, policy, callee, PLAIN, OURS, draw)
    assert [(each.tag, each.suite) for each in answered.cryptos] == [(7, "AES_CM_128_HMAC_SHA1_32")]
    assert caller.sends == theirs
    assert not shared(caller, callee)


@pytest.mark.parametrize("offer", ["plain", "sdes", "dtls"])
def test_a_web_page_is_offered_dtls_before_all_else(offer: str) -> None:
    tried = [propose(OFFERS[offer], "preferred", OURS, draw, attempt=i, web=True).protocol for i in range(3)]
    assert tried[0].startswith("UDP/TLS/RTP/SAVP")
    assert sorted(tried[1:]) == ["RTP/AVP", "RTP/SAVP"]
    assert propose(OFFERS["plain"], "off", OURS, draw, web=True).protocol == "RTP/AVP"


def test_a_plain_callee_leaves_the_callers_protection_to_us() -> None:
    offered = OFFERS["sdes"]
    proposed = propose(offered, "preferred", OURS, draw)
    assert (proposed.protocol, proposed.setup) == ("RTP/AVP", "actpass")
    theirs = agree(proposed, Spoken("RTP/AVP"))
    ours, answered = answer(offered, "preferred", theirs, PLAIN, OURS, draw)
    assert theirs == PLAIN
    assert ours.sends == offered.cryptos[0]
    assert answered.cryptos == (CryptoLine(1, "AEAD_AES_256_GCM", b64encode(bytes(44)).decode()),)
    assert not shared(ours, theirs)


def test_our_key_stays_as_long_as_the_legs_own() -> None:
    offered, fresh = OFFERS["sdes"], iter(range(1, 9))
    first, _ = answer(offered, "preferred", PLAIN, PLAIN, OURS, lambda count: bytes([next(fresh)]) * count)
    again, _ = answer(offered, "preferred", PLAIN, first, OURS, lambda count: bytes([next(fresh)]) * count)
    other = Spoken("RTP/SAVP", (line("AEAD_AES_256_GCM", seed=5),))
    changed, _ = answer(other, "preferred", PLAIN, again, OURS, lambda count: bytes([next(fresh)]) * count)
    assert again == first
    assert changed.receives != first.receives


@pytest.mark.parametrize(
    ("setup", "before", "active", "said"),
    [
        ("actpass", PLAIN, True, "active"),
        ("active", PLAIN, False, "passive"),
        ("passive", PLAIN, True, "active"),
        ("actpass", Protection(fingerprint=PEER, active=False), False, "passive"),
        ("actpass", Protection(fingerprint=PEER, active=True), True, "active"),
        ("actpass", Protection(fingerprint=OURS, active=False), True, "active"),
        ("passive", Protection(fingerprint=PEER, active=False), True, "active"),
    ],
)
def test_roles_of_dtls(setup: str, before: Protection, active: bool, said: str) -> None:
    offered = Spoken("UDP/TLS/RTP/SAVP", (), PEER, setup)  # type: ignore[arg-type]
    ours, answered = answer(offered, "preferred", PLAIN, before, OURS, draw)
    assert (ours.active, answered.setup, answered.fingerprint) == (active, said, OURS)
    assert ours.dtls is not None
    assert ours.dtls.fingerprint == b"\xbb" * 32


@pytest.mark.parametrize(("setup", "active"), [("active", False), ("passive", True), ("", False)])
def test_roles_of_dtls_toward_the_callee(setup: str, active: bool) -> None:
    proposed = propose(OFFERS["dtls"], "required", OURS, draw)
    assert (proposed.protocol, proposed.setup) == ("UDP/TLS/RTP/SAVPF", "actpass")
    assert agree(proposed, Spoken(proposed.protocol, (), PEER, setup)).active == active  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "bad",
    [
        line(params="UNENCRYPTED_SRTP"),
        line(params="UNENCRYPTED_SRTCP"),
        line(params="UNAUTHENTICATED_SRTP"),
        line(params="KDR=1"),
        line(params="FEC_ORDER=FEC_SRTP"),
        line(params="WSH=128 UNENCRYPTED_SRTP"),
        line(params="-UNENCRYPTED_SRTP"),
        line(params="-KDR=1"),
        line(params="-FEC_KEY=inline:x"),
        line(params="new-one"),
        line("F8_128_HMAC_SHA1_80"),
        CryptoLine(1, "AES_CM_128_HMAC_SHA1_80", "c2hvcnQ="),
        CryptoLine(1, "AES_CM_128_HMAC_SHA1_80", "?"),
        line(mki="1:0"),
        line(mki="300:1"),
        line(mki="1:129"),
        line(mki="x:1"),
        *(line(lifetime=each) for each in ("0", "2^0", "1000", "2^19", "2^49", "281474976710657", "2^", "-1", "x")),
    ],
    ids=str,
)
def test_what_weakens_or_is_unknown_is_not_used(bad: CryptoLine) -> None:
    assert not bad.usable
    with pytest.raises(Insecure, match="without a suite"):
        propose(Spoken("RTP/SAVP", (bad,)), "preferred", OURS, draw)
    for protocol in ("RTP/SAVP", "RTP/AVP"):
        with pytest.raises(Insecure, match="without a suite"):
            agree(Spoken(protocol, (line(),)), Spoken(protocol, (bad,)))


def test_identifiers_and_harmless_parameters_are_kept() -> None:
    good = line(mki="258:2", lifetime="2^31", params="WSH=128 KDR=0 -later=1")
    assert good.keys is not None
    assert good.keys.mki == b"\x01\x02"
    assert good.usable
    assert str(good) == f"1 AES_CM_128_HMAC_SHA1_80 inline:{good.key}|2^31|258:2 WSH=128 KDR=0 -later=1"


@pytest.mark.parametrize("lifetime", ["", "2^20", "2^31", "2^48", "1048576", "281474976710656"])
def test_keys_that_last_for_a_call_are_used(lifetime: str) -> None:
    assert line(lifetime=lifetime).usable


def test_keys_are_not_shown() -> None:
    said = Spoken("RTP/SAVP", (line(),))
    legs = agree_all([said], [said], [said], [], "required", OURS, draw)
    assert line().key not in repr((said, legs, line().keys))


def test_mutated_lines_never_make_a_required_call_plain() -> None:
    """10,000 offers and answers, each damaged somewhere."""
    chance, plain = random.Random(8), 0
    for _ in range(10_000):
        mutated = []
        for _ in range(2):
            good = line("AES_CM_128_HMAC_SHA1_80", seed=chance.randrange(99))
            text = list(f"{good.suite} {good.key}")
            for _ in range(chance.randrange(3)):
                text[chance.randrange(len(text))] = chr(chance.randrange(33, 127))
            suite, _, key = "".join(text).partition(" ")
            mutated.append(CryptoLine(chance.choice((1, 1, 2)), suite, key))
        protocol = chance.choice(("RTP/AVP", "RTP/SAVP"))
        offered = Spoken(protocol, (mutated[0],) if chance.randrange(8) else ())
        said = Spoken(protocol, (mutated[1],) if chance.randrange(8) else ())
        try:
            proposed = propose(offered, "required", OURS, draw)
            legs = agree_all([offered], [proposed], [said], [], "required", OURS, draw)
        except Insecure:
            continue
        plain += PLAIN in (legs.offerer[0], legs.answerer[0])
    assert plain == 0
