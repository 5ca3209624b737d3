# SPDX-License-Identifier: GPL-3.0-or-later
"""Logging in by an outside provider: OpenID Connect Core 1.0, authorization code flow with PKCE (RFC 7636).

What must survive the way to the provider and back, state, nonce and verifier, is in a short-lived cookie that is
sealed, so that neither the browser nor another site can choose it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Iterator, Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

import aiohttp
import jwt
from pydantic import BaseModel, ConfigDict, Field

from api.auth import TokenPair, token_pair
from api.operation import Context, Operation, Reply
from provisioning.errors import AccessDenied, NotFound, VaultError

COOKIE = "voxdp_login"
LOGIN_SECONDS = 600
ANSWER_SECONDS = 10
KEYS_SECONDS = 3600
ANSWER_BYTES = 1 << 20
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA")


class CallbackQuery(BaseModel):
    """What the provider sends the browser back with."""

    model_config = ConfigDict(extra="ignore")

    code: Annotated[str, Field(pattern=r"^[!-~]{0,2048}$")] = ""
    state: Annotated[str, Field(pattern=r"^[!-~]{0,256}$")] = ""


class Provider:
    """One provider, found by its discovery document (OpenID Connect Discovery 1.0).

    redirect: the URL of our /auth/oidc/callback as the browser sees it.
    """

    def __init__(self, issuer: str, client_id: str, client_secret: str, redirect: str) -> None:
        self.issuer = issuer.rstrip("/")
        self._client_id = client_id
        self._client_secret = client_secret
        self._redirect = redirect
        self._found: Mapping[str, Any] | None = None
        self._keys: jwt.PyJWKSet | None = None
        self._keys_since = 0.0

    @property
    def is_https(self) -> bool:
        """Whether browsers reach us by HTTPS."""
        return self._redirect.startswith("https://")

    async def authorize(self, state: str, nonce: str, verifier: str) -> str:
        """Return where to send the browser. Raises AccessDenied if the provider does not answer."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(ANSWER_SECONDS)) as client:
            found = await self._discover(client)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        query = {
            "response_type": "code", "client_id": self._client_id, "redirect_uri": self._redirect, "scope": "openid",
            "state": state, "nonce": nonce, "code_challenge": challenge, "code_challenge_method": "S256",
        }  # fmt: skip
        return f"{found['authorization_endpoint']}?{urlencode(query)}"

    async def subject(self, code: str, nonce: str, verifier: str) -> str:
        """Return `ISSUER SUBJECT` of whom the provider has identified. Raises AccessDenied."""
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(ANSWER_SECONDS)) as client:
                found = await self._discover(client)
                form = {
                    "grant_type": "authorization_code", "code": code, "redirect_uri": self._redirect,
                    "code_verifier": verifier,
                }  # fmt: skip
                basic = {"Authorization": aiohttp.encode_basic_auth(self._client_id, self._client_secret)}
                posting = client.post(found["token_endpoint"], data=form, headers=basic, allow_redirects=False)
                async with posting as answer:
                    token = (await _json(answer))["id_token"]
                claims = await self._claims(client, token, found)
        except (aiohttp.ClientError, TimeoutError, jwt.PyJWTError, ValueError, KeyError, TypeError) as error:
            raise AccessDenied from error
        if not secrets.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
            raise AccessDenied
        return f"{self.issuer} {claims['sub']}"

    async def _claims(self, client: aiohttp.ClientSession, token: str, found: Mapping[str, Any]) -> dict[str, Any]:
        header = jwt.get_unverified_header(token)
        if header.get("alg") not in ALGORITHMS:
            raise AccessDenied
        key = await self._key(client, str(header.get("kid", "")), found)
        claims: dict[str, Any] = jwt.decode(
            token, key, [header["alg"]], {"require": ["iss", "aud", "sub", "exp", "iat"]},
            audience=self._client_id, issuer=self.issuer, leeway=30,
        )  # fmt: skip
        return claims

    async def _key(self, client: aiohttp.ClientSession, kid: str, found: Mapping[str, Any]) -> jwt.PyJWK:
        """Return the provider's key of that name; one that is not known is asked for, but not all the time."""
        if self._keys is None or time.monotonic() - self._keys_since > KEYS_SECONDS or not _has(self._keys, kid):
            async with client.get(found["jwks_uri"], allow_redirects=False) as answer:
                self._keys = jwt.PyJWKSet.from_dict(await _json(answer))
            self._keys_since = time.monotonic()
        return self._keys[kid]

    async def _discover(self, client: aiohttp.ClientSession) -> Mapping[str, Any]:
        if self._found is None:
            try:
                url = f"{self.issuer}/.well-known/openid-configuration"
                async with client.get(url, allow_redirects=False) as answer:
                    found = await _json(answer)
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                raise AccessDenied from error
            if str(found.get("issuer", "")).rstrip("/") != self.issuer:
                raise AccessDenied
            self._found = found
        return self._found


def operations() -> Iterator[Operation]:
    """Yield them."""
    yield Operation("oidc_login", "GET", "/auth/oidc/login", None, "Go to the provider to log in", _login, "auth",
                    status=302, problems=frozenset({401, 404}))  # fmt: skip
    yield Operation("oidc_callback", "GET", "/auth/oidc/callback", None, "Come back from the provider", _callback,
                    "auth", reply=TokenPair, query=CallbackQuery, problems=frozenset({401, 404}))  # fmt: skip


async def _login(context: Context) -> Reply:
    provider = _provider(context)
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    until = context.services.clock().timestamp() + LOGIN_SECONDS
    sealed = context.services.store.vault.seal(json.dumps([state, nonce, verifier, until]), COOKIE)
    secure = " Secure;" if provider.is_https else ""
    cookie = (
        f"{COOKIE}={_cookie(sealed)}; Path=/api/v1/auth/oidc; Max-Age={LOGIN_SECONDS}; HttpOnly;{secure} SameSite=Lax"
    )
    return Reply(302, None, {"Location": await provider.authorize(state, nonce, verifier), "Set-Cookie": cookie})


async def _callback(context: Context) -> Reply:
    provider = _provider(context)
    query: CallbackQuery = context.query
    state, nonce, verifier, until = _opened(context)
    now = context.services.clock()
    if not secrets.compare_digest(state.encode(), query.state.encode()) or now.timestamp() > until or not query.code:
        raise AccessDenied
    subject = await provider.subject(query.code, nonce, verifier)
    login = await context.services.access.log_in_as(subject, now, context.address)
    reply = await token_pair(context, login)
    gone = f"{COOKIE}=; Path=/api/v1/auth/oidc; Max-Age=0; HttpOnly; SameSite=Lax"
    return Reply(200, reply.value, {"Set-Cookie": gone})


def _provider(context: Context) -> Provider:
    if context.services.provider is None:
        raise NotFound("no provider is configured: set api.oidc_issuer")
    return context.services.provider


def _opened(context: Context) -> tuple[str, str, str, float]:
    """Return state, nonce, verifier and end of the login that this browser began. Raises AccessDenied."""
    for part in context.headers.get("Cookie", "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            try:
                sealed = base64.urlsafe_b64decode(value.encode() + b"==").decode()
                state, nonce, verifier, until = json.loads(context.services.store.vault.open(sealed, COOKIE))
                return str(state), str(nonce), str(verifier), float(until)
            except (ValueError, VaultError):
                break
    raise AccessDenied


def _cookie(sealed: str) -> str:
    return base64.urlsafe_b64encode(sealed.encode()).decode().rstrip("=")


def _has(keys: jwt.PyJWKSet, kid: str) -> bool:
    return any(key.key_id == kid for key in keys.keys)


async def _json(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    """Return a JSON object of bounded size. Raises ValueError, ClientError."""
    if answer.status != 200:
        raise ValueError(f"the provider answered {answer.status}")
    raw = await answer.content.read(ANSWER_BYTES)
    found = json.loads(raw)
    if not isinstance(found, dict):
        raise ValueError("the provider answered no object")
    return found
