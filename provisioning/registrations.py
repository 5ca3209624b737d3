# SPDX-License-Identifier: GPL-3.0-or-later
"""Registrations as the database shows them: written where they differ from what this node wrote last."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg

from provisioning.database import AsyncPool, Question, Rows, unavailable

SLACK = timedelta(seconds=5)
"""An end that is computed anew each time differs by less."""

Key = tuple[int, str, str]


@dataclass(frozen=True, slots=True)
class Registration:
    """One contact of a user; expires: with its zone."""

    tenant: int
    username: str
    contact: str
    received: str | None
    q: float | None
    expires: datetime

    @property
    def key(self) -> Key:
        """What it is found by."""
        return self.tenant, self.username, self.contact


class RegistrationMirror:
    """Keeps the rows of one node like its registrations."""

    def __init__(self, pool: AsyncPool, node: str) -> None:
        self._pool = pool
        self._node = node
        self._written: dict[Key, Registration] | None = None

    async def write(self, registrations: Iterable[Registration]) -> int:
        """Make the node's rows these; return how many were written or removed. Raises DatabaseUnavailable."""
        wanted = {each.key: each for each in registrations}
        before = self._written if self._written is not None else {}
        changed = [each for key, each in wanted.items() if key not in before or _differ(before[key], each)]
        gone = list(before.keys() - wanted.keys())
        if self._written is not None and not changed and not gone:
            return 0
        try:
            async with self._pool.connection() as connection, connection.transaction():
                if self._written is None:
                    await connection.execute("DELETE FROM registrations WHERE node = %s", [self._node])
                await self._put(connection, changed, gone)
        except psycopg.OperationalError as error:
            self._written = None
            raise unavailable(error) from error
        self._written = wanted
        return len(changed) + len(gone)

    async def _put(
        self, connection: psycopg.AsyncConnection[object], changed: list[Registration], gone: list[Key]
    ) -> None:
        async with connection.cursor() as cursor:
            if changed:
                await cursor.executemany(
                    "INSERT INTO registrations (tenant_id, node, username, contact, received, q, expires_at)"
                    " SELECT %s, %s, %s, %s, %s, %s, %s WHERE EXISTS (SELECT FROM tenants WHERE id = %s)"
                    " ON CONFLICT (tenant_id, node, username, contact) DO UPDATE SET received = excluded.received,"
                    " q = excluded.q, expires_at = excluded.expires_at",
                    [(each.tenant, self._node, each.username, each.contact, each.received, each.q, each.expires,
                      each.tenant) for each in changed],
                )  # fmt: skip
            if gone:
                await cursor.executemany(
                    "DELETE FROM registrations WHERE tenant_id = %s AND username = %s AND contact = %s AND node = %s",
                    [(*key, self._node) for key in gone],
                )


def registered(tenant: int, now: datetime) -> Question[list[Registration]]:
    """The registrations of a tenant on all nodes."""

    def read(rows: Rows) -> list[Registration]:
        return [
            Registration(
                row["tenant_id"], row["username"], row["contact"], row["received"], row["q"], row["expires_at"]
            )
            for row in rows
        ]

    return Question(
        "SELECT * FROM registrations WHERE tenant_id = %(tenant)s AND expires_at > %(now)s"
        " ORDER BY username, contact, node",
        {"tenant": tenant, "now": now},
        read,
    )


def _differ(before: Registration, after: Registration) -> bool:
    same = (before.received, before.q) == (after.received, after.q)
    return not same or abs(before.expires - after.expires) > SLACK
