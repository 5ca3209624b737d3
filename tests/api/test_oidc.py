# SPDX-License-Identifier: GPL-3.0-or-later
"""Logging in by an outside provider: a small one that lives here, and all the ways in which it may be wrong."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import pytest_asyncio
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from api.oidc import Provider
from tests.api.conftest import Rest

CLIENT, SECRET = "voxdp", "client secret"


class SmallProvider:
    """Knows one person, `sub` 4711. Each attribute makes it wrong in one way."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(65537, 2048)
        self.signs_with: Any = self.key
        self.algorithm = "RS256"
        self.claims: dict[str, Any] = {}
        self.challenge = self.nonce = ""
        self.issuer = ""
        self.asked = 0

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self.discovery)
        app.router.add_get("/keys", self.keys)
        app.router.add_post("/token", self.token)
        return app

    async def discovery(self, _request: web.Request) -> web.Response:
        paths = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
        return web.json_response({"issuer": self.issuer} | {k: f"{self.issuer}/{v}" for k, v in paths.items()})

    async def keys(self, _request: web.Request) -> web.Response:
        jwk = jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return web.json_response({"keys": [jwk | {"kid": "k1", "alg": "RS256", "use": "sig"}]})

    async def token(self, request: web.Request) -> web.Response:
        self.asked += 1
        form = await request.post()
        basic = base64.b64decode(request.headers["Authorization"].split()[1]).decode()
        proof = (
            base64.urlsafe_b64encode(hashlib.sha256(str(form["code_verifier"]).encode()).digest()).decode().rstrip("=")
        )
        if basic != f"{CLIENT}:{SECRET}" or form["code"] != "c0de" or proof != self.challenge:
            return web.json_response({"error": "invalid_grant"}, status=400)
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "sub": "4711", "iat": now, "exp": now + 60, "nonce": self.nonce}
        claims = {name: value for name, value in (claims | self.claims).items() if value is not None}
        return web.json_response({"id_token": jwt.encode(claims, self.signs_with, self.algorithm, {"kid": "k1"})})

    def seen(self, location: str) -> dict[str, str]:
        """What the browser was sent with."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
        self.challenge, self.nonce = query["code_challenge"], query["nonce"]
        return query


@pytest_asyncio.fixture
async def provider(rest: Rest) -> AsyncIterator[SmallProvider]:
    small = SmallProvider()
    runner = web.AppRunner(small.app())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    small.issuer = f"http://127.0.0.1:{runner.addresses[0][1]}"
    redirect = f"{rest.url}/api/v1/auth/oidc/callback"
    rest.services.provider = Provider(small.issuer, CLIENT, SECRET, redirect)
    subject = f"{small.issuer} 4711"
    assert (await rest.ask("PATCH", "/accounts/viewer", json={"oidc_subject": subject}))[0] == 200
    yield small
    await runner.cleanup()


async def log_in(rest: Rest, provider: SmallProvider, **query: str) -> tuple[int, Any]:
    rest.client.cookie_jar.clear()
    async with rest.client.get("/api/v1/auth/oidc/login", allow_redirects=False) as answer:
        assert answer.status == 302
        sent = provider.seen(answer.headers["Location"])
        cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert (sent["client_id"], sent["scope"], sent["code_challenge_method"]) == (CLIENT, "openid", "S256")
    value = cookie.partition("=")[2].partition(";")[0]
    params = {"code": "c0de", "state": sent["state"]} | query
    headers = {"Cookie": f"voxdp_login={query.get('cookie', value)}"}
    params.pop("cookie", None)
    status, body, _ = await rest.ask("GET", "/auth/oidc/callback", None, params=params, headers=headers)
    return status, body


async def test_an_account_that_is_linked_is_let_in(rest: Rest, provider: SmallProvider) -> None:
    status, body = await log_in(rest, provider)
    assert status == 200, body
    assert (await rest.ask("GET", "/auth/me", body["access_token"]))[1]["username"] == "viewer"
    await rest.ask("PATCH", "/accounts/viewer", json={"enabled": False})
    assert (await log_in(rest, provider))[0] == 401


@pytest.mark.parametrize(
    "claims",
    [{"sub": "4712"}, {"aud": "other"}, {"iss": "http://evil.example"}, {"nonce": "x"}, {"nonce": None},
     {"exp": 1}, {"exp": None}, {"sub": None}, {"iat": int(time.time()) + 900}],
    ids=lambda claims: " ".join(claims),
)  # fmt: skip
async def test_claims_that_are_not_ours_are_refused(
    rest: Rest, provider: SmallProvider, claims: dict[str, Any]
) -> None:
    provider.claims = claims
    assert (await log_in(rest, provider))[0] == 401


async def test_what_another_signed_or_began_is_refused(rest: Rest, provider: SmallProvider) -> None:
    for query in ({"state": "x"}, {"code": "x"}, {"code": ""}, {"cookie": ""}, {"cookie": "AAAA"}):
        assert (await log_in(rest, provider, **query))[0] == 401, query
    provider.signs_with = rsa.generate_private_key(65537, 2048)
    assert (await log_in(rest, provider))[0] == 401
    for secret, algorithm in (("", "none"), ("x" * 64, "HS256")):
        provider.signs_with, provider.algorithm = secret or None, algorithm
        assert (await log_in(rest, provider))[0] == 401
    asked = provider.asked
    rest.services.provider = Provider("http://127.0.0.1:9", CLIENT, SECRET, "http://x/")
    async with rest.client.get("/api/v1/auth/oidc/login", allow_redirects=False) as answer:
        assert answer.status == 401
    assert provider.asked == asked


async def test_without_a_provider_there_is_no_such_login(rest: Rest) -> None:
    assert (await rest.ask("GET", "/auth/oidc/login", None))[0] == 404
