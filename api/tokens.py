# SPDX-License-Identifier: GPL-3.0-or-later
"""Access tokens: JWT (RFC 7519) signed with Ed25519 (RFC 8037), good for ten minutes, each bound to its session.

The algorithm is fixed and never read from a token; its `kid` is looked up among our own keys and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from secrets import token_hex
from typing import Any
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from jwt.types import Options

ALGORITHM = "EdDSA"
ISSUER, AUDIENCE = "voxdp", "voxdp-api"
LIFETIME = timedelta(minutes=10)
LEEWAY = 5
"""Seconds that the clocks of two of us may differ."""
LONGEST = 2048
OPTIONS: Options = {
    "require": ["iss", "aud", "sub", "sid", "jti", "iat", "nbf", "exp"],
    "strict_aud": True,
    "verify_exp": False,  # against the clock of the caller instead
    "verify_nbf": False,
    "verify_iat": False,
}


class InvalidToken(Exception):
    """No token of ours, or not any more."""


class Tokens:
    """keys: (kid, private key in PEM), the one that signs first."""

    def __init__(self, keys: Iterable[tuple[str, str]]) -> None:
        self._private: dict[str, Ed25519PrivateKey] = {}
        for kid, pem in keys:
            key = load_pem_private_key(pem.encode(), None)
            assert isinstance(key, Ed25519PrivateKey), "signing keys are Ed25519"
            self._private[kid] = key
        self._public: dict[str, Ed25519PublicKey] = {kid: key.public_key() for kid, key in self._private.items()}
        self._kid = next(iter(self._private))

    def issue(self, username: str, session: UUID, now: datetime) -> str:
        """Return a token for a session."""
        claims = {
            "iss": ISSUER, "aud": AUDIENCE, "sub": username, "sid": str(session), "jti": token_hex(8),
            "iat": now, "nbf": now, "exp": now + LIFETIME,
        }  # fmt: skip
        return jwt.encode(claims, self._private[self._kid], ALGORITHM, {"kid": self._kid})

    def session(self, token: str, now: datetime) -> str:
        """Return the session of a token that is good now. Raises InvalidToken."""
        if len(token) > LONGEST:
            raise InvalidToken
        try:
            header = jwt.get_unverified_header(token)
            key = self._public.get(header.get("kid", ""))
            if key is None or header.get("alg") != ALGORITHM:
                raise InvalidToken
            claims = jwt.decode(token, key, [ALGORITHM], OPTIONS, audience=AUDIENCE, issuer=ISSUER)
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise InvalidToken from error
        if not isinstance(claims["sid"], str) or not _is_good(claims, now.timestamp()):
            raise InvalidToken
        return claims["sid"]


def _is_good(claims: dict[str, Any], now: float) -> bool:
    """Whether the times of a token, which nobody but us has signed, are numbers that fit."""
    times = [claims["iat"], claims["nbf"], claims["exp"]]
    if not all(type(each) is int for each in times):
        return False
    issued, begins, ends = times
    return bool(max(issued, begins) - LEEWAY <= now < ends <= issued + LIFETIME.total_seconds())


def new_key() -> tuple[str, str]:
    """Return a new key and its name."""
    key = Ed25519PrivateKey.generate()
    return token_hex(8), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
