# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from sip import digest
from sip.counters import BUCKET_BYTES, Counters
from sip.digest import Challenge, Credentials, authorization, ha1
from sip.headers import AuthValue
from sip.nonces import Guard, Verdict

REALM, URI, NOW = "example.org", "sip:example.org", 1000.0
SECRETS = {name: ha1(name, "anna", REALM, "pw") for name in ("MD5", "SHA-256")}
KEY = b"k" * 32


def guard(**options: object) -> Guard:
    return Guard(KEY, REALM, **options)  # type: ignore[arg-type]  # options are chosen by name


def challenges(server: Guard, now: float = NOW, entropy: bytes = bytes(8)) -> list[Challenge]:
    """As their receiver reads them."""
    read = [Challenge.of(AuthValue.parse(text)) for text in server.challenges(now, entropy)]
    return [each for each in read if each]


def answer(
    server: Guard, *, algorithm: str = "SHA-256", nc: int = 1, now: float = NOW, entropy: bytes = bytes(8)
) -> Credentials:
    challenge = next(c for c in challenges(server, now, entropy) if c.algorithm == algorithm)
    text = authorization(challenge, "REGISTER", URI, "anna", ha1=SECRETS[algorithm], cnonce="c", nc=nc)
    found = server.find([AuthValue.parse("Basic x=y"), AuthValue.parse(text)])
    assert found is not None
    return found


def judge(server: Guard, credentials: Credentials, now: float = NOW) -> Verdict:
    return server.verify(credentials, "REGISTER", URI, SECRETS, now)


def test_both_algorithms_are_offered_the_stronger_first() -> None:
    assert [challenge.algorithm for challenge in challenges(guard())] == ["SHA-256", "MD5"]
    assert guard().challenges(NOW, bytes(8))[0].endswith('algorithm=SHA-256, qop="auth"')


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_granted(algorithm: str) -> None:
    server = guard()
    assert judge(server, answer(server, algorithm=algorithm)) is Verdict.GRANTED


def test_a_counter_holds_once() -> None:
    server = guard()
    expected = {1: True, 2: True, 5: True, 4: True, 3: True, 80: True, 17: True, 16: False, 79: True, 81: True}
    for count, granted in expected.items():
        verdict = judge(server, answer(server, nc=count))
        assert verdict is (Verdict.GRANTED if granted else Verdict.STALE), count
        assert judge(server, answer(server, nc=count)) is Verdict.STALE


def test_the_count_is_hashed_as_it_was_spelled() -> None:
    server = guard()
    found = replace(answer(server), nc="0000000A", qop="AUTH")
    found = replace(found, response=found.expected_response(SECRETS["SHA-256"], "REGISTER"))
    read = server.find([AuthValue.parse(str(found))])
    assert read == found
    assert judge(server, found) is Verdict.GRANTED


@pytest.mark.parametrize(
    "change",
    [
        {"response": "0" * 64},
        {"response": "\udcff"},
        {"uri": "sip:other.example.org"},
        {"uri": "no uri"},
        {"cnonce": "d"},
        {"nc": "00000002"},
        {"nonce": "0" * 60},
    ],
)
def test_what_was_changed_is_denied(change: dict[str, str]) -> None:
    server = guard()
    assert judge(server, replace(answer(server), **change)) is Verdict.DENIED


def test_another_method_or_request_uri_is_denied() -> None:
    server = guard()
    assert server.verify(answer(server), "INVITE", URI, SECRETS, NOW) is Verdict.DENIED
    assert server.verify(answer(server), "REGISTER", "sip:bert@example.org", SECRETS, NOW) is Verdict.DENIED
    assert server.verify(answer(server), "REGISTER", "SIP:EXAMPLE.org", SECRETS, NOW) is Verdict.GRANTED


def test_an_unknown_user_is_denied_like_a_wrong_password() -> None:
    server = guard()
    assert server.verify(answer(server), "REGISTER", URI, None, NOW) is Verdict.DENIED
    assert server.verify(answer(server), "REGISTER", URI, {}, NOW) is Verdict.DENIED


class Counted:
    """In place of a hash of nothing yet: counts those that are begun."""

    def __init__(self) -> None:
        self.begun = 0

    def copy(self) -> Any:
        self.begun += 1
        return hashlib.sha256()


def test_an_unknown_user_costs_the_work_of_a_wrong_password(monkeypatch: pytest.MonkeyPatch) -> None:
    server, wrong = guard(), {name: ha1(name, "anna", REALM, "other") for name in SECRETS}
    found, costs = answer(server), []
    for secrets in (wrong, None):
        monkeypatch.setitem(digest._HASHES, "SHA-256", counted := Counted())
        assert server.verify(found, "REGISTER", URI, secrets, NOW) is Verdict.DENIED
        costs.append(counted.begun)
    assert costs[0] == costs[1] > 0


@pytest.mark.parametrize("secrets", [{"SHA-256": "0" * 64}, None], ids=["known", "unknown"])
def test_what_proves_nothing_is_judged_once(monkeypatch: pytest.MonkeyPatch, secrets: dict[str, str] | None) -> None:
    server = guard()
    found, costs = answer(server), []
    for _ in range(2):
        monkeypatch.setitem(digest._HASHES, "SHA-256", counted := Counted())
        assert not server.proves(found, "REGISTER", URI, secrets)
        costs.append(counted.begun)
    assert costs[0] > costs[1] == 0
    assert server.proves(found, "REGISTER", URI, SECRETS)
    assert not server.proves(found, "INVITE", URI, SECRETS)
    assert server.proves(found, "REGISTER", URI, SECRETS)


def test_even_the_dummy_secret_opens_nothing() -> None:
    server = guard()
    found = answer(server)
    dummy = digest.digest("SHA-256", f"{REALM}:{KEY.hex()}")
    proof = found.expected_response(dummy, "REGISTER")
    assert server.verify(replace(found, response=proof), "REGISTER", URI, None, NOW) is Verdict.DENIED


@pytest.mark.parametrize(("later", "verdict"), [(299, Verdict.GRANTED), (301, Verdict.STALE), (-1, Verdict.STALE)])
def test_lifetime(later: float, verdict: Verdict) -> None:
    server = guard()
    assert judge(server, answer(server), NOW + later) is verdict


@pytest.mark.parametrize("nonce", ["", "x", "0" * 60, "ä" * 60, "z" * 12 + "0" * 48, "0" * 33])
def test_a_nonce_of_somebody_else_is_stale(nonce: str) -> None:
    server = guard()
    foreign = replace(answer(server), nonce=nonce)
    foreign = replace(foreign, response=foreign.expected_response(SECRETS["SHA-256"], "REGISTER"))
    assert judge(server, foreign) is Verdict.STALE


def test_another_key_or_realm_makes_other_nonces() -> None:
    nonce = challenges(guard())[0].nonce
    assert challenges(Guard(b"j" * 32, REALM))[0].nonce != nonce
    assert challenges(Guard(KEY, "other"))[0].nonce != nonce
    assert challenges(guard(), entropy=b"\1" * 8)[0].nonce != nonce


def test_nonces_of_another_key_are_stale() -> None:
    assert judge(Guard(b"j" * 32, REALM), answer(guard())) is Verdict.STALE


def test_several_that_share_a_table_let_nothing_be_replayed() -> None:
    counters = Counters()
    one, other = guard(counters=counters), guard(counters=counters)
    found = answer(one)
    assert judge(other, found) is Verdict.GRANTED
    assert judge(one, found) is judge(other, found) is Verdict.STALE
    assert judge(one, answer(one, nc=2)) is Verdict.GRANTED
    assert judge(other, answer(one, nc=2)) is Verdict.STALE


def test_what_is_forgotten_for_lack_of_room_cannot_be_replayed() -> None:
    server = guard(counters=Counters(bytearray(BUCKET_BYTES)))
    used = [answer(server, now=NOW + i, entropy=bytes([i]) * 8) for i in range(50)]
    assert all(judge(server, found, NOW + 60) is Verdict.GRANTED for found in used)
    assert all(judge(server, found, NOW + 60) is Verdict.STALE for found in used)


def test_expired_counters_make_room() -> None:
    server = guard(counters=Counters(bytearray(BUCKET_BYTES)))
    late = answer(server, now=NOW + 400 * 49)
    for i in range(50):
        entropy = bytes([i + 1]) * 8
        assert judge(server, answer(server, now=NOW + 400 * i, entropy=entropy), NOW + 400 * i) is Verdict.GRANTED
    assert judge(server, late, NOW + 400 * 49) is Verdict.GRANTED


def test_a_wrong_password_leaves_no_trace() -> None:
    table = bytearray(4 * BUCKET_BYTES)
    server = guard(counters=Counters(table))
    for i in range(100):
        judge(server, replace(answer(server, entropy=bytes([i]) * 8), response="0" * 64))
    assert not any(table)


@pytest.mark.parametrize(
    "change",
    [
        {"realm": "other"},
        {"algorithm": "SHA-512-256"},
        {"algorithm": "SHA-256-sess"},
        {"qop": "auth-int"},
        {"qop": ""},
        {"nc": "0"},
        {"nc": "00000000"},
        {"nc": "0x000001"},
        {"cnonce": ""},
    ],
)
def test_credentials_that_were_not_asked_for_are_not_found(change: dict[str, str]) -> None:
    server = guard()
    changed = replace(answer(server), **change)
    assert server.find([AuthValue.parse(str(changed))]) is None


def test_md5_can_be_switched_off() -> None:
    md5 = answer(guard(), algorithm="MD5")
    server = guard(algorithms=("SHA-256",))
    assert server.find([AuthValue.parse(str(md5))]) is None
    assert len(server.challenges(NOW, bytes(8))) == 1


def test_a_client_without_qop_uses_each_nonce_once() -> None:
    server = guard(require_qop=False)
    challenge = replace(challenges(server)[1], qop=())
    text = authorization(challenge, "REGISTER", URI, "anna", ha1=SECRETS["MD5"], cnonce="")
    found = server.find([AuthValue.parse(text)])
    assert found is not None
    assert [judge(server, found) for _ in range(2)] == [Verdict.GRANTED, Verdict.STALE]
    assert guard().find([AuthValue.parse(text)]) is None
