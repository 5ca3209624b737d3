# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the snapshot fresh: PostgreSQL notifies of each change, and only what changed is read again.

A changed user is read alone; of anything else that routing needs, the plan of the tenant concerned.

Who wants to know that all changes so far have been read sends a mark after them, and waits until it comes.

The notifications come over a connection of their own. Notifications are lost while that is down, so everything is
read anew with each connection; until then the last snapshot serves, however old.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Iterable
from contextlib import aclosing, suppress
from dataclasses import fields, replace
from functools import partial

import psycopg
from psycopg import Notify
from psycopg.rows import DictRow, dict_row

from provisioning.credentials import open_ha1
from provisioning.database import CONNECT_SECONDS, AsyncPool, Question, Rows, ask_async, connect, options
from provisioning.errors import DatabaseUnavailable, VaultError
from provisioning.plan import TenantPlan
from provisioning.planning import PlanReader
from provisioning.snapshot import Account, Snapshot, UserKey
from provisioning.vault import Vault

USERS, PLANS, MARKS = "voxdp_users", "voxdp_plan", "voxdp_marks"
PING_SECONDS = 10.0
ANSWER_SECONDS = 20.0
PLAN_SECONDS = 60
GATHER_SECONDS = 0.05  # a burst of changes is read at once
KEYS_AT_ONCE = 500  # with more changes than this, reading everything is cheaper
ROWS_AT_ONCE = 500
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0

log = logging.getLogger(__name__)
Connection = psycopg.AsyncConnection[DictRow]


class SnapshotKeeper:
    """Holds the current snapshot; `run` keeps it fresh until it is cancelled."""

    def __init__(self, conninfo: str, vault: Vault, realm: str, hosts: Iterable[str] = ()) -> None:
        self._conninfo = conninfo
        self._vault = vault
        self._reader = PlanReader(vault)
        self._current = Snapshot.of(realm, [], hosts)
        self._loaded = asyncio.Event()
        self._renewed = asyncio.Event()
        self._marks: dict[str, asyncio.Event] = {}
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

    async def caught_up(self, pool: AsyncPool) -> None:
        """Return once the snapshot has all that was committed before. Raises DatabaseUnavailable, PoolTimeout."""
        mark = secrets.token_hex(8)
        self._marks[mark] = seen = asyncio.Event()
        try:
            await ask_async(pool, Question("SELECT pg_notify(%(at)s, %(mark)s)", {"at": MARKS, "mark": mark}, len))
            await seen.wait()
        finally:
            del self._marks[mark]

    async def run(self) -> None:
        """Read, listen, read again what changed; for ever."""
        pause = FIRST_PAUSE
        while True:
            try:
                await self._follow()
            except (psycopg.Error, OSError, TimeoutError, DatabaseUnavailable) as error:
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
            marks = [*self._marks]  # they may have been told while nobody listened
            listen = "; ".join(f"LISTEN {channel}" for channel in (USERS, PLANS, MARKS))
            await connection.execute(listen.encode())  # first: no change falls between
            await self._read_all(connection)
            self._seen(marks)
            while True:
                changes = await _gather(connection)
                await self._read(connection, changes)
        finally:
            with suppress(psycopg.Error, OSError):
                await connection.close()

    async def _read(self, connection: Connection, changes: list[Notify]) -> None:
        if not changes:
            async with asyncio.timeout(ANSWER_SECONDS):
                await connection.execute("SELECT 1")  # nothing for long: is the server still there?
        tenants = _tenants(change.payload for change in changes if change.channel == PLANS)
        if tenants is None or tenants:
            plans = await self._plans(tenants)
            self._renew(self._current.planned(plans if tenants is None else {**self._current.plans, **plans}))
        keys = _keys(change.payload for change in changes if change.channel == USERS)
        if keys is None or len(keys) > KEYS_AT_ONCE:
            await self._read_users(connection)
        elif keys:
            accounts = await _put(connection, accounts_of(keys, self._vault))
            self._renew(self._current.replaced(keys, accounts))
        self._seen(change.payload for change in changes if change.channel == MARKS)

    async def _read_all(self, connection: Connection) -> None:
        self._renew(self._current.planned(await self._plans(None)))
        await self._read_users(connection)
        self._trouble = None
        self._loaded.set()

    async def _read_users(self, connection: Connection) -> None:
        accounts = await _put(connection, all_accounts(self._vault))
        old = self._current
        users = await asyncio.to_thread(Snapshot.of, old.realm, accounts, old.hosts)
        self._renew(replace(users, plans=old.plans, owners=old.owners))

    async def _plans(self, tenants: Iterable[int] | None) -> dict[int, TenantPlan]:
        """Read plans in a thread, for a rate deck may have a million prices."""

        def read() -> dict[int, TenantPlan]:
            with connect(self._conninfo) as connection:
                connection.execute(f"SET statement_timeout = '{PLAN_SECONDS}s'".encode())
                return self._reader.read(connection, tenants)

        return await asyncio.to_thread(read)

    def _seen(self, marks: Iterable[str]) -> None:
        for mark in marks:
            if seen := self._marks.get(mark):
                seen.set()

    def _renew(self, snapshot: Snapshot) -> None:
        self._current = snapshot
        waiting, self._renewed = self._renewed, asyncio.Event()
        waiting.set()


def all_accounts(vault: Vault) -> Question[list[Account]]:
    """Every account there is."""
    return Question("SELECT * FROM users", {}, partial(_accounts, vault))


def accounts_of(keys: set[UserKey], vault: Vault) -> Question[list[Account]]:
    """The accounts of these keys, as far as they exist."""
    return Question(
        """
        SELECT users.* FROM users JOIN unnest(%(realms)s::text[], %(names)s::text[]) AS wanted (realm, username)
        USING (realm, username)
        """,
        {"realms": [realm for realm, _ in keys], "names": [name for _, name in keys]},
        partial(_accounts, vault),
    )


async def _gather(connection: Connection) -> list[Notify]:
    """Return the next notification and those close behind it; none after a quiet while."""
    changes: list[Notify] = []
    async with aclosing(connection.notifies(timeout=PING_SECONDS, stop_after=1)) as first:
        changes += [notification async for notification in first]
    if changes:
        async with aclosing(connection.notifies(timeout=GATHER_SECONDS)) as rest:
            changes += [notification async for notification in rest]
    return changes


async def _put(connection: Connection, question: Question[list[Account]]) -> list[Account]:
    """Return the accounts; calls are served between the pieces of a long answer."""
    async with asyncio.timeout(ANSWER_SECONDS):
        cursor = await connection.execute(question.sql, question.parameters)
    accounts: list[Account] = []
    while rows := await cursor.fetchmany(ROWS_AT_ONCE):
        accounts += question.answer(rows)
        await asyncio.sleep(0)
    return accounts


def _keys(payloads: Iterable[str]) -> set[UserKey] | None:
    """Return whom the notifications name; None if one of them means everybody."""
    keys = set()
    for payload in payloads:
        try:
            named = json.loads(payload)
            keys.add((named["realm"], named["username"]))
        except (ValueError, KeyError, TypeError):
            return None
    return keys


def _tenants(payloads: Iterable[str]) -> set[int] | None:
    """Return the tenants that the notifications name; None if one of them means all."""
    named = set(payloads)
    return None if "" in named else set(map(int, named))


def _accounts(vault: Vault, rows: Rows) -> list[Account]:
    """Return the accounts; one whose password cannot be opened is left out, and the others are not."""
    accounts = []
    for row in rows:
        try:
            md5, sha256 = open_ha1(row["realm"], row["username"], row["ha1_md5"], row["ha1_sha256"], vault)
        except VaultError as error:
            log.error("user %s cannot register: %s", row["username"], error)
            continue
        same = {name: row[name] for name in _SAME}
        accounts.append(Account(**same, ha1_md5=md5, ha1_sha256=sha256, tenant=row["tenant_id"]))
    return accounts


_SAME = tuple(field.name for field in fields(Account) if field.name not in ("ha1_md5", "ha1_sha256", "tenant"))
