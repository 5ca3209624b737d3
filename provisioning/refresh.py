# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the snapshot of users fresh: PostgreSQL notifies of each change, and only what changed is read again.

The notifications come over a connection of their own. Notifications are lost while that is down, so everything is
read anew with each connection; until then the last snapshot serves, however old.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable
from contextlib import aclosing, suppress

import psycopg
from psycopg.rows import DictRow, dict_row

from provisioning.database import CONNECT_SECONDS, Question, Rows, options
from provisioning.errors import DatabaseUnavailable
from provisioning.snapshot import Account, Snapshot, UserKey

CHANNEL = "voxdp_users"
PING_SECONDS = 10.0
ANSWER_SECONDS = 20.0
GATHER_SECONDS = 0.05  # a burst of changes is read at once
KEYS_AT_ONCE = 500  # with more changes than this, reading everything is cheaper
ROWS_AT_ONCE = 500
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0

log = logging.getLogger(__name__)
Connection = psycopg.AsyncConnection[DictRow]


class SnapshotKeeper:
    """Holds the current snapshot; `run` keeps it fresh until it is cancelled."""

    def __init__(self, conninfo: str, realm: str, hosts: Iterable[str] = ()) -> None:
        self._conninfo = conninfo
        self._current = Snapshot.of(realm, [], hosts)
        self._loaded = asyncio.Event()
        self._renewed = asyncio.Event()
        self._trouble: str | None = "not read yet"

    @property
    def current(self) -> Snapshot:
        """The newest snapshot; empty until the first one was read."""
        return self._current

    @property
    def ready(self) -> bool:
        """Whether there was a first snapshot."""
        return self._loaded.is_set()

    @property
    def trouble(self) -> str | None:
        """Why the snapshot may be old, None while it is fresh."""
        return self._trouble

    async def loaded(self, limit: float = 10.0) -> Snapshot:
        """Wait for the first snapshot and return it. Raises DatabaseUnavailable after `limit` seconds."""
        try:
            async with asyncio.timeout(limit):
                await self._loaded.wait()
        except TimeoutError:
            raise DatabaseUnavailable(
                f"the users could not be read ({self._trouble}): see that PostgreSQL runs"
            ) from None
        return self._current

    async def renewed(self) -> None:
        """Wait until a newer snapshot than the current one is there."""
        await self._renewed.wait()

    async def run(self) -> None:
        """Read, listen, read again what changed; for ever."""
        pause = FIRST_PAUSE
        while True:
            try:
                await self._follow()
            except (psycopg.Error, OSError, TimeoutError) as error:
                lines = str(error).strip().splitlines()
                if self._trouble is None:
                    pause = FIRST_PAUSE
                    log.warning("users are served from memory, PostgreSQL is away: %s", lines[-1] if lines else error)
                self._trouble = lines[-1] if lines else type(error).__name__
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _follow(self) -> None:
        """Serve one connection until it fails."""
        async with asyncio.timeout(CONNECT_SECONDS + 1):
            connection = await Connection.connect(self._conninfo, autocommit=True, row_factory=dict_row, **options())
        try:
            await connection.execute(f"LISTEN {CHANNEL}".encode())  # first, so that no change falls between
            await self._read_all(connection)
            while True:
                changes = await _gather(connection)
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._read(connection, changes)
        finally:
            with suppress(psycopg.Error, OSError):
                await connection.close()

    async def _read(self, connection: Connection, changes: list[str]) -> None:
        keys = _keys(changes)
        if keys is None or len(keys) > KEYS_AT_ONCE:
            await self._read_all(connection)
        elif keys:
            accounts = await _put(connection, accounts_of(keys))
            self._renew(self._current.replaced(keys, accounts))
        else:
            await connection.execute("SELECT 1")  # nothing for long: is the server still there?

    async def _read_all(self, connection: Connection) -> None:
        async with asyncio.timeout(ANSWER_SECONDS):
            accounts = await _put(connection, all_accounts())
        old = self._current
        self._renew(await asyncio.to_thread(Snapshot.of, old.realm, accounts, old.hosts))
        self._trouble = None
        self._loaded.set()

    def _renew(self, snapshot: Snapshot) -> None:
        self._current = snapshot
        waiting, self._renewed = self._renewed, asyncio.Event()
        waiting.set()


def all_accounts() -> Question[list[Account]]:
    """Every account there is."""
    return Question(
        "SELECT realm, username, enabled, ha1_md5, ha1_sha256, display_name, tenant_id FROM users", {}, _accounts
    )


def accounts_of(keys: set[UserKey]) -> Question[list[Account]]:
    """The accounts of these keys, as far as they exist."""
    return Question(
        """
        SELECT realm, username, enabled, ha1_md5, ha1_sha256, display_name, tenant_id
        FROM users JOIN unnest(%(realms)s::text[], %(names)s::text[]) AS wanted (realm, username)
        USING (realm, username)
        """,
        {"realms": [realm for realm, _ in keys], "names": [name for _, name in keys]},
        _accounts,
    )


async def _gather(connection: Connection) -> list[str]:
    """Return the payloads of the next notification and of those close behind it; none after a quiet while."""
    changes: list[str] = []
    async with aclosing(connection.notifies(timeout=PING_SECONDS, stop_after=1)) as first:
        changes += [notification.payload async for notification in first]
    if changes:
        async with aclosing(connection.notifies(timeout=GATHER_SECONDS)) as rest:
            changes += [notification.payload async for notification in rest]
    return changes


async def _put(connection: Connection, question: Question[list[Account]]) -> list[Account]:
    """Return the accounts; calls are served between the pieces of a long answer."""
    cursor = await connection.execute(question.sql, question.parameters)
    accounts: list[Account] = []
    while rows := await cursor.fetchmany(ROWS_AT_ONCE):
        accounts += question.answer(rows)
        await asyncio.sleep(0)
    return accounts


def _keys(changes: list[str]) -> set[UserKey] | None:
    """Return whom the notifications name; None if one of them means everybody."""
    keys = set()
    for payload in changes:
        try:
            named = json.loads(payload)
            keys.add((named["realm"], named["username"]))
        except (ValueError, KeyError, TypeError):
            return None
    return keys


def _accounts(rows: Rows) -> list[Account]:
    return [
        Account(
            realm=row["realm"],
            username=row["username"],
            enabled=row["enabled"],
            ha1_md5=row["ha1_md5"],
            ha1_sha256=row["ha1_sha256"],
            display_name=row["display_name"],
            tenant=row["tenant_id"],
        )
        for row in rows
    ]
