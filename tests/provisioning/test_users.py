# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib

import pytest

from provisioning import users
from provisioning.database import ask, ask_async, connect, make_pool
from provisioning.errors import AlreadyExists, InvalidValue, NotFound

REALM = "example.net"


def response(algorithm: str, ha1: str, nonce: str, cnonce: str, uri: str) -> str:
    """The digest response of a GET with qop=auth and nc=1, RFC 7616 §3.4.1."""
    digest = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}[algorithm]
    ha2 = digest(f"GET:{uri}".encode()).hexdigest()
    return digest(f"{ha1}:{nonce}:00000001:{cnonce}:auth:{ha2}".encode()).hexdigest()


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_ha1_yields_the_responses_of_rfc_7616_3_9_1(algorithm: str, expected: str) -> None:
    ha1 = users.ha1(algorithm, "Mufasa", "http-auth@example.org", "Circle of Life")
    nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
    cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    assert response(algorithm, ha1, nonce, cnonce, "/dir/index.html") == expected


def test_ha1_yields_the_response_of_rfc_2617_3_5() -> None:
    ha1 = users.ha1("MD5", "Mufasa", "testrealm@host.com", "Circle Of Life")
    nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093"
    assert response("MD5", ha1, nonce, "0a4f113b", "/dir/index.html") == "6629fae49393a05397450978507c4ef1"


def test_ha1_refuses_other_algorithms() -> None:
    with pytest.raises(InvalidValue, match="use MD5 or SHA-256"):
        users.ha1("SHA-1", "a", "b", "c")


def test_the_life_of_a_user(conninfo: str) -> None:
    with connect(conninfo) as connection:
        made = ask(connection, users.create("anna", "Example.NET", "secret", display_name="Anna Ö."))
        assert (made.realm, made.username, made.display_name, made.enabled) == (REALM, "anna", "Anna Ö.", True)
        assert ask(connection, users.get("anna", REALM)) == made
        assert not ask(connection, users.set_enabled("anna", REALM, False)).enabled
        assert ask(connection, users.set_password("anna", REALM, "other")).updated > made.updated
        row = connection.execute("SELECT * FROM users").fetchone()
        assert row
        assert row["ha1_md5"] == users.ha1("MD5", "anna", REALM, "other")
        assert row["ha1_sha256"] == users.ha1("SHA-256", "anna", REALM, "other")
        assert not {"other", "secret"} & set(map(str, row.values()))
        assert ask(connection, users.delete("anna", REALM)).username == "anna"
        assert ask(connection, users.listing()) == []


def test_a_name_is_taken_once_in_a_realm(conninfo: str) -> None:
    with connect(conninfo) as connection:
        ask(connection, users.create("anna", REALM, "x"))
        ask(connection, users.create("anna", "other.example", "x"))
        with pytest.raises(AlreadyExists, match=r"anna@example\.net exists already"):
            ask(connection, users.create("anna", REALM, "y"))


def test_what_is_not_there_is_named(conninfo: str) -> None:
    questions = (
        users.get("nobody", REALM),
        users.delete("nobody", REALM),
        users.set_enabled("nobody", REALM, True),
        users.set_password("nobody", REALM, "x"),
    )
    with connect(conninfo) as connection:
        for question in questions:
            with pytest.raises(NotFound, match=r"no user nobody@example\.net"):
                ask(connection, question)
        with pytest.raises(NotFound, match="no tenant none"):
            ask(connection, users.create("anna", REALM, "x", tenant="none"))


@pytest.mark.parametrize(
    ("username", "realm", "password"),
    [
        ("", REALM, "x"),
        ("a:b", REALM, "x"),
        ("a b", REALM, "x"),
        ("a@b", REALM, "x"),
        ("a\0", REALM, "x"),
        ("a\x1b[31m", REALM, "x"),
        ("a" * 256, REALM, "x"),
        ("anna", "", "x"),
        ("anna", 'a"b', "x"),
        ("anna", REALM, ""),
        ("anna", REALM, "x\n"),
    ],
)
def test_refuses_what_digest_or_a_terminal_would_misread(username: str, realm: str, password: str) -> None:
    with pytest.raises(InvalidValue):
        users.create(username, realm, password)


@pytest.mark.parametrize("name", ["'; DROP TABLE users; --", "%s", "%(realm)s", "\\"])
def test_names_are_data_and_never_sql(conninfo: str, name: str) -> None:
    name = name.replace(" ", "")
    with connect(conninfo) as connection:
        ask(connection, users.create(name, REALM, "x"))
        assert [user.username for user in ask(connection, users.listing())] == [name]


async def test_the_daemon_asks_the_same_questions(conninfo: str) -> None:
    async with make_pool(conninfo) as pool:
        for name in ("carl", "anna", "bert"):
            await ask_async(pool, users.create(name, REALM, "x"))
        first = await ask_async(pool, users.listing(realm="EXAMPLE.net", limit=2))
        assert [user.username for user in first] == ["anna", "bert"]
        rest = await ask_async(pool, users.listing(after=first[-1]))
        assert [user.username for user in rest] == ["carl"]
        assert await ask_async(pool, users.listing(realm="other.example")) == []
