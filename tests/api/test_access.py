# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gets in, who does not, and what each may do: made from the OpenAPI document where that knows it."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import jwt
import pyotp
import pytest

from api.ratelimit import RateLimit
from api.roles import ROLES, allows
from api.tokens import AUDIENCE, ISSUER, InvalidToken, Tokens, new_key
from provisioning.access import FAILURES
from provisioning.database import connect
from provisioning.resources import OBJECTS
from tests.api.conftest import PASSWORD, Rest
from tests.api.fuzz import operations
from tests.provisioning.examples import EXAMPLES


def concrete(path: str) -> str:
    """The path of something that is there, or could be."""
    found = EXAMPLES_BY_PLURAL.get(path.split("/")[1])
    key = found["key"].replace("+", "%2B") if found else "admin"
    return (
        path.replace("{key}", key).replace("{call}", "c1").replace("{kind}", "trunk").replace("{id}", str(UUID(int=1)))
    )


EXAMPLES_BY_PLURAL = {
    each.plural: {"key": EXAMPLES[each.name][0][each.key], "body": EXAMPLES[each.name][0]} for each in OBJECTS
}


async def test_every_operation_refuses_whom_it_should(rest: Rest) -> None:
    """No token, a wrong one, an expired one, each role that lacks the permission, and another tenant."""
    for resource in OBJECTS:
        await rest.ask("POST", f"/{resource.plural}", json=EXAMPLES[resource.name][0])
    _, before, _ = await rest.ask("GET", "/export")
    for role in ("viewer", "operator", "admin", "stranger"):
        await rest.ask("GET", "/auth/me", role)
    issued = Tokens(await rest.services.access.signing_keys(new_key))
    session = jwt.decode(rest.tokens["admin"], options={"verify_signature": False})["sid"]
    expired = issued.issue("admin", UUID(session), rest.now[0] - timedelta(hours=1))
    cells = 0
    for path, methods in (await operations(rest.client)).items():
        for method, operation in methods.items():
            permission = operation.get("x-permission")
            if permission is None:
                assert operation["security"] == []
                continue
            body = EXAMPLES_BY_PLURAL.get(path.split("/")[1], {}).get("body", {})
            for who, expected in (
                (None, 401),
                ("x", 401),
                (expired, 401),
                ("vxk_0123456789ab_00", 401),
                *((role, 403) for role in ("viewer", "operator", "admin") if not allows(role, permission)),
            ):
                status, _, _ = await rest.ask(method.upper(), concrete(path), who, json=body)
                assert status == expected, (method, path, who)
                cells += 1
            if "{" in path and permission.partition(":")[0] not in ("self", "tenant", "bulk", "account"):
                send = None if method in ("get", "delete") else body
                status, found, _ = await rest.ask(method.upper(), concrete(path), "stranger", json=send)
                assert status in (404, 415, 422), (method, path, found)
                cells += 1
                away = {"Voxdp-Tenant": "default"}
                assert (await rest.ask(method.upper(), concrete(path), "stranger", json=send, headers=away))[0] == 403
    assert cells > 600
    assert (await rest.ask("GET", "/export"))[1] == before


def test_roles_grow_and_none_that_is_not_known_may_anything() -> None:
    permissions = [f"{kind}:{action}" for kind in ("trunk", "tenant", "account", "audit", "call", "cdr")
                   for action in ("read", "update", "control")]  # fmt: skip
    for weaker, stronger in zip(("viewer", "operator", "admin"), ("operator", "admin", "platform"), strict=True):
        assert all(allows(stronger, each) for each in permissions if allows(weaker, each))
    assert not any(allows("nobody", each) for each in permissions)
    assert not allows("admin", "tenant:read")
    assert set(ROLES) == {"viewer", "operator", "admin", "platform"}


async def test_a_platform_account_acts_for_any_tenant_and_is_made_by_none_other(rest: Rest) -> None:
    other = {"Voxdp-Tenant": "other"}
    assert (await rest.ask("POST", "/skills", "platform", json={"name": "x"}, headers=other))[0] == 201
    assert [each["name"] for each in (await rest.ask("GET", "/skills", "stranger"))[1]["items"]] == ["x"]
    assert (await rest.ask("GET", "/skills", "platform", headers={"Voxdp-Tenant": "none"}))[0] == 404
    new = {"username": "boss", "password": PASSWORD, "role": "platform"}
    assert (await rest.ask("POST", "/accounts", "admin", json=new))[0] == 403
    for method, path, body in (
        ("PATCH", "/accounts/platform", {"password": "another one"}),
        ("DELETE", "/accounts/platform", None),
        ("PATCH", "/accounts/admin", {"role": "platform"}),
    ):
        assert (await rest.ask(method, path, "admin", json=body))[0] == 403, path
    assert (await rest.ask("POST", "/accounts", "platform", json=new))[0] == 201
    assert (await rest.ask("POST", "/accounts", json=new | {"username": "b", "role": "viewer", "tenant": "other"}))[
        0
    ] == 422


async def test_tokens_end(rest: Rest) -> None:
    _, pair, _ = await rest.ask("POST", "/auth/login", None, json={"username": "admin", "password": PASSWORD})
    access, first = pair["access_token"], pair["refresh_token"]
    assert (await rest.ask("GET", "/auth/me", access))[1] == {"username": "admin", "role": "admin", "tenant": "default"}
    status, pair, _ = await rest.ask("POST", "/auth/refresh", None, json={"refresh_token": first})
    assert status == 200
    assert (await rest.ask("GET", "/auth/me", pair["access_token"]))[0] == 200
    assert (await rest.ask("POST", "/auth/refresh", None, json={"refresh_token": first}))[0] == 401, "it was used"
    assert (await rest.ask("GET", "/auth/me", pair["access_token"]))[0] == 401, "and so the session is over"
    token = await login(rest)
    assert (await rest.ask("POST", "/auth/logout", token))[0] == 204
    assert (await rest.ask("GET", "/auth/me", token))[0] == 401
    token = await login(rest)
    await rest.ask("PATCH", "/accounts/admin", "platform", json={"password": "another password"})
    assert (await rest.ask("GET", "/auth/me", token))[0] == 401, "the password is another"
    token = await login(rest, "operator")
    await rest.ask("PATCH", "/accounts/operator", "platform", json={"role": "viewer"})
    assert (await rest.ask("GET", "/auth/me", token))[1]["role"] == "viewer"
    await rest.ask("PATCH", "/accounts/operator", "platform", json={"enabled": False})
    assert (await rest.ask("GET", "/auth/me", token))[0] == 401
    for wrong in ("x", "", f"{UUID(int=1)}.x", "é"):
        status, _, _ = await rest.ask("POST", "/auth/refresh", None, json={"refresh_token": wrong})
        assert status in (401, 422), wrong


async def login(rest: Rest, name: str = "admin", password: str = PASSWORD, **more: str) -> str:
    status, body, _ = await rest.ask("POST", "/auth/login", None, json={"username": name, "password": password, **more})
    return str(body["access_token"]) if status == 200 else f"refused {status}"


async def test_five_wrong_passwords_close_an_account_for_a_while(rest: Rest) -> None:
    tries = [login(rest, password=f"wrong {number}") for number in range(3 * FAILURES)]
    assert set(await asyncio.gather(*tries)) == {"refused 401"}
    with connect(rest.conninfo) as connection:
        row = connection.execute("SELECT failures FROM accounts WHERE username = 'admin'").fetchone()
    assert row == {"failures": FAILURES}, "what came after was not even looked at"
    assert await login(rest) == "refused 401"
    rest.move(minutes=16)
    assert not (await login(rest)).startswith("refused")
    assert await login(rest, "nobody") == "refused 401"


async def test_a_second_factor(rest: Rest) -> None:
    token = await login(rest)
    status, enrolment, _ = await rest.ask("POST", "/auth/totp", token)
    assert status == 201
    assert enrolment["uri"].startswith("otpauth://totp/voxdp:admin?secret=")
    assert not (await login(rest)).startswith("refused"), "it does not count until it is confirmed"
    totp = pyotp.TOTP(enrolment["secret"])

    def code() -> str:
        return totp.at(rest.now[0])

    assert (await rest.ask("POST", "/auth/totp/enable", token, json={"code": "000000"}))[0] == 401
    assert (await rest.ask("POST", "/auth/totp/enable", token, json={"code": code()}))[0] == 204
    _, body, _ = await rest.ask("POST", "/auth/login", None, json={"username": "admin", "password": PASSWORD})
    assert body["second_factor"] is True
    assert await login(rest, code=code()) == "refused 401", "a code is good for one use"
    rest.move(seconds=30)
    assert not (await login(rest, code=code())).startswith("refused")
    recovery = enrolment["recovery_codes"][0]
    assert not (await login(rest, code=recovery)).startswith("refused")
    assert await login(rest, code=recovery) == "refused 401"
    with connect(rest.conninfo) as connection:
        stored = str(connection.execute("SELECT * FROM accounts").fetchall())
    assert enrolment["secret"] not in stored
    assert enrolment["recovery_codes"][1] not in stored
    rest.move(minutes=16)
    results = [await login(rest, code=f"{number:06}") for number in range(12)]
    assert set(results) == {"refused 401"}
    assert await login(rest, code=code()) == "refused 401", "five were tried"
    rest.move(minutes=16)
    token = await login(rest, code=code())
    assert (await rest.ask("POST", "/auth/totp", token))[0] == 401, "it is on already"
    rest.move(seconds=60)
    token = await login(rest, code=enrolment["recovery_codes"][2])
    assert (await rest.ask("POST", "/auth/totp/disable", token, json={"code": code()}))[0] == 204
    assert not (await login(rest)).startswith("refused")


async def test_api_keys(rest: Rest) -> None:
    status, made, _ = await rest.ask("POST", "/auth/keys", "operator", json={"role": "platform", "description": "crm"})
    assert (status, made["key"]["role"]) == (201, "operator"), "a key may no more than its account"
    token = made["token"]
    assert (await rest.ask("GET", "/trunks", token))[0] == 200
    assert (await rest.ask("POST", "/trunks", token, json={"name": "a", "host": "h"}))[0] == 403
    assert (await rest.ask("POST", "/auth/totp", token))[0] == 401, "a key is no person"
    assert (await rest.ask("GET", "/trunks", token[:-1] + "x"))[0] == 401
    assert [each["id"] for each in (await rest.ask("GET", "/auth/keys", "operator"))[1]["items"]] == [made["key"]["id"]]
    assert (await rest.ask("DELETE", f"/auth/keys/{made['key']['id']}", "admin"))[0] == 404, "it is somebody else's"
    soon = (rest.now[0] + timedelta(minutes=1)).isoformat()
    _, brief, _ = await rest.ask("POST", "/auth/keys", "operator", json={"expires_at": soon})
    assert (await rest.ask("GET", "/trunks", brief["token"]))[0] == 200
    assert (await rest.ask("DELETE", f"/auth/keys/{made['key']['id']}", "operator"))[0] == 204
    assert (await rest.ask("GET", "/trunks", token))[0] == 401
    rest.move(minutes=2)
    assert (await rest.ask("GET", "/trunks", brief["token"]))[0] == 401
    with connect(rest.conninfo) as connection:
        assert token.rpartition("_")[2] not in str(connection.execute("SELECT * FROM api_keys").fetchall())


async def test_who_asks_too_often_is_told_when_to_come_back(rest: Rest) -> None:
    rest.services.by_account = RateLimit(0.5, 3)
    answers = [await rest.ask("GET", "/auth/me") for _ in range(4)]
    assert [status for status, _, _ in answers] == [200, 200, 200, 429]
    assert 1 <= int(answers[-1][2]["Retry-After"]) <= 2
    assert (await rest.ask("GET", "/auth/me", "viewer"))[0] == 200
    rest.services.logins = RateLimit(0.1, 2)
    assert [await login(rest, password="no") for _ in range(3)] == ["refused 401"] * 2 + ["refused 429"]


def test_a_bucket_refills_and_forgets() -> None:
    limit = RateLimit(2, 3, size=2)
    assert [limit.take("a", 0) for _ in range(4)] == [0, 0, 0, 1]
    assert [limit.take("a", 1.0) for _ in range(3)] == [0, 0, 1]
    limit.take("b", 1.0)
    limit.take("c", 1.0)
    assert limit.take("a", 1.0) == 0, "it was forgotten as the oldest"


@pytest.fixture(scope="module")
def signing() -> tuple[Tokens, str]:
    kid, pem = new_key()
    return Tokens([(kid, pem), new_key()]), kid


def test_no_tampered_token_is_taken(signing: tuple[Tokens, str]) -> None:
    """Ten thousand: other algorithms, keys, claims and headers, and each with bits turned."""
    tokens, kid = signing
    good = tokens.issue("admin", UUID(int=7), datetime.now(UTC))
    assert tokens.session(good, datetime.now(UTC)) == str(UUID(int=7))
    taken = [bad for bad in tampered(good, kid, 10_000) if not refused(tokens, bad)]
    assert taken == []


def refused(tokens: Tokens, token: str) -> bool:
    try:
        tokens.session(token, datetime.now(UTC))
    except InvalidToken:
        return True
    return False


def tampered(good: str, kid: str, count: int) -> list[str]:
    chance = random.Random(5)
    header, claims, signature = good.split(".")
    known: dict[str, Any] = json.loads(base64.urlsafe_b64decode(claims + "=="))
    made = [good + ".", good[:-4], "", ".", "..", "a.b.c", good.replace(".", ""), "x" * 100_000, f"{header}.{claims}."]
    for name in ("none", "None", "NONE", "nOnE", "HS256", "HS512", "RS256", "ES256", "PS256", "", "EdDSA ", "eddsa"):
        for key in (kid, "", "../../etc/passwd", "x' OR '1'='1", "\0", "http://evil.example/key", [kid], None, {}):
            made += [f"{part({'alg': name, 'typ': 'JWT', 'kid': key})}.{claims}.{end}" for end in ("", signature)]
    for secret in ("", kid, "secret", "-----BEGIN PUBLIC KEY-----"):
        made.append(jwt.encode(known, secret.ljust(64, "x"), "HS256", {"kid": kid}))
    for key in (
        {},
        {"kid": kid, "jwk": {"kty": "OKP"}},
        {"kid": kid, "jku": "http://evil.example"},
        {"kid": kid, "x5u": "x"},
    ):
        _, other = new_key()
        made.append(jwt.encode(known, other, "EdDSA", key))
    for change in (
        {"aud": "x"},
        {"iss": "x"},
        {"exp": known["exp"] + 10**6},
        {"sid": str(UUID(int=8))},
        {"sub": "platform"},
    ):
        made.append(f"{header}.{part(known | change)}.{signature}")
    while len(made) < count:
        place = chance.randrange(len(good))
        if good[place] == "." or place == len(good) - 1:  # the last character's low bits mean nothing
            continue
        letter = chance.choice("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
        if letter != good[place]:
            made.append(good[:place] + letter + good[place + 1 :])
    return made


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def test_claims_of_our_own_key_must_be_whole(signing: tuple[Tokens, str]) -> None:
    tokens, kid = signing
    now = datetime.now(UTC)
    whole = {"iss": ISSUER, "aud": AUDIENCE, "sub": "a", "sid": "s", "jti": "1", "iat": now, "nbf": now,
             "exp": now + timedelta(minutes=10)}  # fmt: skip
    key = tokens._private[kid]

    def issue(**changes: Any) -> str:
        claims = {name: value for name, value in (whole | changes).items() if value is not None}
        return jwt.encode(claims, key, "EdDSA", {"kid": kid})

    assert tokens.session(issue(), now) == "s"
    hour = timedelta(hours=1)
    wrong: list[dict[str, Any]] = [{"aud": "other"}, {"aud": [AUDIENCE, "other"]}, {"iss": "other"}, {"sid": 7}]
    wrong += [{"exp": now - hour}, {"nbf": now + hour}, {"exp": now + hour}, {"iat": now + hour}, {"iat": "1"}]
    for change in [*({name: None} for name in whole), *wrong]:
        assert refused(tokens, issue(**change)), change
