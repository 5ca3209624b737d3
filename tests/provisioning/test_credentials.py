# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib

import pytest

from provisioning.credentials import ha1, ha1_columns, open_ha1
from provisioning.errors import InvalidValue
from provisioning.vault import Vault


def response(algorithm: str, value: str, nonce: str, cnonce: str, uri: str) -> str:
    """The digest response of a GET with qop=auth and nc=1, RFC 7616 §3.4.1."""
    digest = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}[algorithm]
    ha2 = digest(f"GET:{uri}".encode()).hexdigest()
    return digest(f"{value}:{nonce}:00000001:{cnonce}:auth:{ha2}".encode()).hexdigest()


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_ha1_yields_the_responses_of_rfc_7616_3_9_1(algorithm: str, expected: str) -> None:
    value = ha1(algorithm, "Mufasa", "http-auth@example.org", "Circle of Life")
    nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
    cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    assert response(algorithm, value, nonce, cnonce, "/dir/index.html") == expected


def test_ha1_yields_the_response_of_rfc_2617_3_5() -> None:
    value = ha1("MD5", "Mufasa", "testrealm@host.com", "Circle Of Life")
    nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093"
    assert response("MD5", value, nonce, "0a4f113b", "/dir/index.html") == "6629fae49393a05397450978507c4ef1"


def test_ha1_refuses_other_algorithms() -> None:
    with pytest.raises(InvalidValue, match="use MD5 or SHA-256"):
        ha1("SHA-1", "a", "b", "c")


def test_what_is_stored_is_sealed() -> None:
    vault = Vault([bytes(32)])
    columns = ha1_columns("anna", "example.net", "secret", vault)
    assert ha1("MD5", "anna", "example.net", "secret") not in str(columns)
    assert open_ha1("example.net", "anna", columns["ha1_md5"], columns["ha1_sha256"], vault) == (
        ha1("MD5", "anna", "example.net", "secret"),
        ha1("SHA-256", "anna", "example.net", "secret"),
    )


@pytest.mark.parametrize("password", ["", "x\n", "\0", "\x1b[31m"])
def test_refuses_what_no_telephone_could_send(password: str) -> None:
    with pytest.raises(InvalidValue):
        ha1_columns("anna", "example.net", password, Vault([bytes(32)]))
