# SPDX-License-Identifier: GPL-3.0-or-later
"""Passwords and second factors of API accounts. Hashing a password takes some hundred milliseconds: in a thread."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets

import pyotp
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

PERIOD = 30
"""Seconds of one time step (RFC 6238 §5.2)."""
RECOVERY_CODES = 10

_hasher = PasswordHasher(time_cost=3, memory_cost=32 * 1024, parallelism=1)
_hashing = asyncio.Semaphore(2)
"""Each takes 32 MB and a core: more at once would be a way to stop us."""


async def hash_password(password: str) -> str:
    """Return the Argon2id hash of a password."""
    async with _hashing:
        return await asyncio.to_thread(_hasher.hash, password)


async def is_password(password: str, known: str | None) -> bool:
    """Whether it is the password of this hash; for None it takes as long to say no."""

    def verify() -> bool:
        try:
            return _hasher.verify(known or _NOBODYS, password) and known is not None
        except (VerificationError, InvalidHashError):
            return False

    async with _hashing:
        return await asyncio.to_thread(verify)


def totp_step(secret: str, code: str, now: float, last: int) -> int | None:
    """Return the time step that a code is for, None if it is wrong or its step was used (RFC 6238 §5.2).

    now: seconds of Unix time. last: the last step that was used. A clock may be off by one step.
    """
    totp = pyotp.TOTP(secret, interval=PERIOD)
    current = int(now) // PERIOD
    for step in (current - 1, current, current + 1):
        if hmac.compare_digest(totp.at(step * PERIOD).encode(), code.encode()) and step > last:
            return step
    return None


def new_totp_secret() -> str:
    """Return a secret in Base32, 160 bits."""
    return pyotp.random_base32()


def totp_uri(secret: str, username: str) -> str:
    """Return what an authenticator app reads as a QR code."""
    return pyotp.TOTP(secret, interval=PERIOD).provisioning_uri(name=username, issuer_name="voxdp")


def new_recovery_codes() -> list[str]:
    """Return codes that each stand for the second factor once, 80 bits each."""
    return [secrets.token_hex(10) for _ in range(RECOVERY_CODES)]


def digest(token: str) -> str:
    """Return how a random token is stored: it cannot be guessed, so a plain hash will do."""
    return hashlib.sha256(token.encode()).hexdigest()


_NOBODYS = _hasher.hash(secrets.token_hex())
