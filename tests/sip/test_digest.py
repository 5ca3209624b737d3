# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest

from sip.digest import Challenge, Credentials, authorization, choose, digest, ha1
from sip.headers import AuthValue

RFC7616 = Challenge(
    "http-auth@example.org",
    "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
    qop=("auth", "auth-int"),
    opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS",
)
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


def answered(challenge: Challenge, password: str, method: str = "GET", cnonce: str = CNONCE) -> Credentials:
    secret = ha1(challenge.algorithm.upper().removesuffix("-SESS"), "Mufasa", challenge.realm, password)
    text = authorization(challenge, method, "/dir/index.html", "Mufasa", ha1=secret, cnonce=cnonce)
    credentials = Credentials.of(AuthValue.parse(text))
    assert credentials is not None
    assert credentials.response == credentials.expected_response(secret, method)
    return credentials


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_rfc7616_section_3_9_1(algorithm: str, response: str) -> None:
    challenge = replace(RFC7616, algorithm=algorithm)
    assert answered(challenge, "Circle of Life").response == response


def test_rfc2617_section_3_5() -> None:
    challenge = Challenge("testrealm@host.com", "dcd98b7102dd2f0e8b11d0f600bfb0c093", qop=("auth",))
    assert answered(challenge, "Circle Of Life", cnonce="0a4f113b").response == "6629fae49393a05397450978507c4ef1"


def test_rfc2069_answer_has_neither_qop_nor_count() -> None:
    credentials = answered(
        Challenge("testrealm@host.com", "dcd98b7102dd2f0e8b11d0f600bfb0c093", qop=()), "CircleOfLife"
    )
    assert credentials.response == "1949323746fe6a43ef61f9606e7febea"
    assert (credentials.qop, credentials.nc, credentials.cnonce) == ("", "", "")


def test_session_algorithms_hash_the_secret_with_both_nonces() -> None:
    credentials = answered(Challenge("r", "n", "SHA-256-sess"), "p", cnonce="c")
    session = digest("SHA-256", ha1("SHA-256", "Mufasa", "r", "p") + ":n:c")
    expected = digest("SHA-256", f"{session}:n:00000001:c:auth:{digest('SHA-256', 'GET:/dir/index.html')}")
    assert credentials.response == expected


@pytest.mark.parametrize(("algorithm", "size"), [("MD5", 32), ("SHA-256", 64), ("SHA-512-256", 64), ("sha-256", 64)])
def test_hashes(algorithm: str, size: int) -> None:
    assert len(digest(algorithm, "x\udcff")) == size


def test_challenge_is_read_back_as_written() -> None:
    for challenge in (
        Challenge('a "quoted" realm', "n", "SHA-256", ("auth", "auth-int"), True, "o"),
        Challenge("r", "n", qop=()),
    ):
        assert Challenge.of(AuthValue.parse(str(challenge))) == challenge


@pytest.mark.parametrize("text", ["Basic realm=x, nonce=y", "Digest realm=x", 'Digest realm=x, nonce=""', "Digest"])
def test_no_challenge(text: str) -> None:
    assert Challenge.of(AuthValue.parse(text)) is None


@pytest.mark.parametrize(
    "text", ["Digest username=a, realm=b, nonce=c, uri=d", "Basic username=a, realm=b, nonce=c, uri=d, response=e", ""]
)
def test_no_credentials(text: str) -> None:
    assert Credentials.of(AuthValue.parse(text)) is None


def offered(*challenges: str) -> list[AuthValue]:
    return [AuthValue.parse(text) for text in challenges]


def test_the_strongest_challenge_is_answered() -> None:
    values = offered(
        "Basic realm=x",
        "Digest realm=x, nonce=1, algorithm=AKAv1-MD5",
        "Digest realm=x, nonce=2",
        'Digest realm=y, nonce=3, algorithm=SHA-256, qop="auth-int"',
        'Digest realm=y, nonce=4, algorithm=sha-256, qop="auth,auth-int"',
    )
    chosen = choose(values)
    assert chosen is not None
    assert (chosen.nonce, chosen.qop) == ("4", ("auth", "auth-int"))
    for realm, algorithms, nonce in (("x", ("SHA-256", "MD5"), "2"), ("y", ("MD5",), None), ("z", ("MD5",), None)):
        found = choose(values, algorithms, realm)
        assert (found and found.nonce) == nonce


def test_nothing_to_answer() -> None:
    assert choose(offered("Basic realm=x", "Digest realm=x, nonce=1, algorithm=unknown")) is None
