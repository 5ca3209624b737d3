# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is it? Logins, sessions, API keys and second factors, as they are in the database.

A wrong password or code counts as a failure of the account: after FAILURES of them within FAILURE_WINDOW it lets
nobody in until that is over, and no further password or code is looked at.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import psycopg
from psycopg.rows import DictRow

from provisioning import audit
from provisioning.database import AsyncPool, unavailable
from provisioning.errors import AccessDenied, SecondFactorMissing
from provisioning.passwords import (
    digest,
    is_password,
    new_recovery_codes,
    new_totp_secret,
    totp_step,
    totp_uri,
)
from provisioning.sealing import SIGNING_KEY, TOTP_SECRET
from provisioning.vault import Vault

FAILURES = 5
FAILURE_WINDOW = timedelta(minutes=15)
SESSION = timedelta(days=30)

Connection = psycopg.AsyncConnection[DictRow]


@dataclass(frozen=True, slots=True)
class Identity:
    """An account that has shown who it is. role: that of its key, where it came with one that may less."""

    username: str
    role: str
    tenant: str
    tenant_id: int
    tenant_realm: str | None = None
    session: UUID | None = None

    @property
    def platform(self) -> bool:
        """Whether it may act for every tenant."""
        return self.role == "platform"


@dataclass(frozen=True, slots=True)
class Login:
    """A session that has just begun, or goes on: its refresh token is good for one use."""

    identity: Identity
    refresh_token: str


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What a person needs for the second factor; shown once."""

    secret: str
    uri: str
    recovery_codes: list[str]


class Access:
    """Answers who somebody is. Every method may raise DatabaseUnavailable."""

    def __init__(self, pool: AsyncPool, vault: Vault) -> None:
        self._pool = pool
        self._vault = vault

    async def log_in(self, username: str, password: str, code: str | None, now: datetime, address: str) -> Login:
        """Begin a session. Raises AccessDenied, SecondFactorMissing."""
        async with self._open() as connection:
            row = await self._account(connection, "username", username, lock=False)
        locked = row is not None and _locked(row, now)
        right = await is_password(password, row["password_hash"] if row and not locked else None)
        if row is None or locked or not row["enabled"] or not row["tenant_enabled"]:
            raise AccessDenied
        async with self._open() as connection:
            row = await self._account(connection, "username", username, lock=True)
            if row is None or _locked(row, now):
                raise AccessDenied
            if right and row["totp_enabled"] and not code:
                raise SecondFactorMissing
            if not right or (row["totp_enabled"] and not await self._is_code(connection, row, code or "", now)):
                await _count_failure(connection, row, now)
                right = False
            else:
                await _forgive(connection, username)
                login = await self._begin(connection, row, now)
            await _note(connection, row, "login" if right else "login refused", address)
        if not right:
            raise AccessDenied
        return login

    async def log_in_as(self, subject: str, now: datetime, address: str) -> Login:
        """Begin a session for whom an outside provider has identified: `ISSUER SUBJECT`. Raises AccessDenied."""
        async with self._open() as connection:
            row = await self._account(connection, "oidc_subject", subject, lock=True)
            if row is None or not row["enabled"] or not row["tenant_enabled"]:
                raise AccessDenied
            await _note(connection, row, "login by provider", address)
            return await self._begin(connection, row, now)

    async def refresh(self, token: str, now: datetime) -> Login:
        """Go on with a session. A token that was used before ends it. Raises AccessDenied."""
        session, _, secret = token.partition(".")
        async with self._open() as connection:
            row = await self._session(connection, session, now, lock=True)
            if row is None:
                raise AccessDenied
            stolen = not secrets.compare_digest(row["refresh_hash"], digest(secret))
            if stolen:
                await connection.execute("UPDATE sessions SET revoked_at = %s WHERE id = %s", [now, row["id"]])
            else:
                fresh = secrets.token_urlsafe(32)
                await connection.execute("UPDATE sessions SET refresh_hash = %s WHERE id = %s",
                                         [digest(fresh), row["id"]])  # fmt: skip
        if stolen:
            raise AccessDenied
        return Login(_identity(row, row["id"]), f"{row['id']}.{fresh}")

    async def log_out(self, session: UUID, now: datetime) -> None:
        """End a session: its access tokens are of no use any more either."""
        async with self._open() as connection:
            await connection.execute("UPDATE sessions SET revoked_at = %s WHERE id = %s", [now, session])

    async def by_session(self, session: str, now: datetime) -> Identity:
        """Return whose session this is, as the account is now. Raises AccessDenied."""
        async with self._connection() as connection:
            row = await self._session(connection, session, now, lock=False)
        if row is None:
            raise AccessDenied
        return _identity(row, row["id"])

    async def by_key(self, identifier: str, secret: str, now: datetime) -> Identity:
        """Return whose API key this is. Raises AccessDenied."""
        async with self._connection() as connection:
            row = await self._one(
                connection,
                "SELECT a.*, t.name AS tenant, t.enabled AS tenant_enabled, t.realm AS tenant_realm,"
                " k.key_hash, k.role AS key_role, k.expires_at FROM api_keys k"
                " JOIN accounts a ON a.tenant_id = k.tenant_id AND a.username = k.username"
                " JOIN tenants t ON t.id = a.tenant_id WHERE k.id = %s",
                [identifier],
            )
        right = secrets.compare_digest(row["key_hash"] if row else digest(""), digest(secret))
        if row is None or not right or not row["enabled"] or not row["tenant_enabled"]:
            raise AccessDenied
        if row["expires_at"] is not None and row["expires_at"] <= now:
            raise AccessDenied
        return _identity(row | {"role": weaker(row["role"], row["key_role"])}, None)

    async def enrol(self, username: str) -> Enrolment:
        """Give an account a secret and recovery codes; they count once a code confirms them. Raises AccessDenied."""
        secret, codes = new_totp_secret(), new_recovery_codes()
        sealed = self._vault.seal(secret, TOTP_SECRET.owner(username))
        async with self._open() as connection:
            changed = await connection.execute(
                "UPDATE accounts SET totp_secret = %s, recovery_hashes = %s WHERE username = %s AND NOT totp_enabled",
                [sealed, [digest(code) for code in codes], username],
            )
        if not changed.rowcount:
            raise AccessDenied
        return Enrolment(secret, totp_uri(secret, username), codes)

    async def confirm(self, username: str, code: str, now: datetime, *, enabled: bool, address: str) -> None:
        """Turn the second factor on or off, by a code of it. Raises AccessDenied."""
        async with self._open() as connection:
            row = await self._account(connection, "username", username, lock=True)
            right = (
                row is not None
                and row["totp_secret"] is not None
                and not _locked(row, now)
                and await self._is_code(connection, row, code, now)
            )
            if row is not None and right:
                await connection.execute("UPDATE accounts SET totp_enabled = %s WHERE username = %s",
                                         [enabled, username])  # fmt: skip
                await _note(connection, row, f"second factor {'on' if enabled else 'off'}", address)
            elif row is not None:
                await _count_failure(connection, row, now)
        if not right:
            raise AccessDenied

    async def signing_keys(self, make: Callable[[], tuple[str, str]]) -> list[tuple[str, str]]:
        """Return (kid, private key in PEM), newest first; where there is none yet, the one that `make()` returns."""
        async with self._open() as connection:
            await connection.execute("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE")
            rows = await (await connection.execute("SELECT * FROM signing_keys ORDER BY created_at DESC")).fetchall()
            if rows:
                return [
                    (row["kid"], self._vault.open(row["private_key"], SIGNING_KEY.owner(row["kid"]))) for row in rows
                ]
            kid, private = make()
            sealed = self._vault.seal(private, SIGNING_KEY.owner(kid))
            await connection.execute("INSERT INTO signing_keys (kid, private_key) VALUES (%s, %s)", [kid, sealed])
            return [(kid, private)]

    async def _is_code(self, connection: Connection, row: DictRow, code: str, now: datetime) -> bool:
        """Use up a code of the second factor, or a recovery code."""
        username = row["username"]
        if digest(code) in row["recovery_hashes"]:
            await connection.execute(
                "UPDATE accounts SET recovery_hashes = array_remove(recovery_hashes, %s) WHERE username = %s",
                [digest(code), username],
            )
            return True
        secret = self._vault.open(row["totp_secret"], TOTP_SECRET.owner(username))
        step = totp_step(secret, code, now.timestamp(), row["totp_step"])
        if step is None:
            return False
        await connection.execute("UPDATE accounts SET totp_step = %s WHERE username = %s", [step, username])
        return True

    async def _begin(self, connection: Connection, row: DictRow, now: datetime) -> Login:
        secret = secrets.token_urlsafe(32)
        made = await self._one(
            connection,
            "INSERT INTO sessions (username, refresh_hash, expires_at) VALUES (%s, %s, %s) RETURNING id",
            [row["username"], digest(secret), now + SESSION],
        )
        assert made
        return Login(_identity(row, made["id"]), f"{made['id']}.{secret}")

    async def _account(
        self, connection: Connection, column: Literal["username", "oidc_subject"], value: str, *, lock: bool
    ) -> DictRow | None:
        known = "SELECT a.*, t.name AS tenant, t.enabled AS tenant_enabled, t.realm AS tenant_realm FROM accounts a"
        sql = f"{known} JOIN tenants t ON t.id = a.tenant_id WHERE a.{column} = %s"
        return await self._one(connection, sql + (" FOR UPDATE OF a" if lock else ""), [value])

    async def _session(self, connection: Connection, session: str, now: datetime, *, lock: bool) -> DictRow | None:
        try:
            identifier = UUID(session)
        except ValueError:
            return None
        known = (
            "SELECT s.id, s.refresh_hash, a.username, a.role, a.tenant_id, t.name AS tenant, t.realm AS tenant_realm"
            " FROM sessions s"
            " JOIN accounts a USING (username) JOIN tenants t ON t.id = a.tenant_id"
            " WHERE s.id = %s AND s.revoked_at IS NULL AND s.expires_at > %s AND a.enabled AND t.enabled"
        )
        return await self._one(connection, known + (" FOR UPDATE OF s" if lock else ""), [identifier, now])

    @staticmethod
    async def _one(connection: Connection, sql: str, parameters: list[Any]) -> DictRow | None:
        return await (await connection.execute(sql.encode(), parameters)).fetchone()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Connection]:
        async with self._connection() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """Give a connection on which each statement is a transaction."""
        try:
            async with self._pool.connection() as connection:
                yield connection
        except psycopg.OperationalError as error:
            raise unavailable(error) from error


STRENGTH = ("viewer", "operator", "admin", "platform")


def weaker(first: str, second: str) -> str:
    """Return the role of two that may less."""
    return min(first, second, key=STRENGTH.index)


def _identity(row: DictRow, session: UUID | None) -> Identity:
    same = ("username", "role", "tenant", "tenant_id", "tenant_realm")
    return Identity(**{name: row[name] for name in same}, session=session)


def _locked(row: DictRow, now: datetime) -> bool:
    since = row["failing_since"]
    return since is not None and now - since < FAILURE_WINDOW and row["failures"] >= FAILURES


async def _count_failure(connection: Connection, row: DictRow, now: datetime) -> None:
    since = row["failing_since"]
    anew = since is None or now - since >= FAILURE_WINDOW
    await connection.execute(
        "UPDATE accounts SET failures = %s, failing_since = %s WHERE username = %s",
        [1 if anew else row["failures"] + 1, now.astimezone(UTC) if anew else since, row["username"]],
    )


async def _forgive(connection: Connection, username: str) -> None:
    await connection.execute(
        "UPDATE accounts SET failures = 0, failing_since = NULL WHERE username = %s AND failures > 0", [username]
    )


async def _note(connection: Connection, row: DictRow, action: str, address: str) -> None:
    await audit.append(
        connection, row["tenant_id"], actor=row["username"], address=address, action=action,
        resource="account", key=row["username"],
    )  # fmt: skip
