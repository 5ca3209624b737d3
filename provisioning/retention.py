# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept for how long: records, the persons in them, and the audit, each by its tenant's policy.

A forgotten record stays for its sums: its parties keep all but their last four characters, and both Call-IDs go.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import psycopg

from provisioning import audit, deliveries
from provisioning.database import AsyncPool, unavailable

ANSWERS = timedelta(days=1)
"""How long the answers to requests with an Idempotency-Key are kept."""
SESSIONS = timedelta(days=7)
AT_ONCE = 5000

FORGET = """
    UPDATE cdrs SET forgotten = true, caller = left(caller, greatest(length(caller) - 4, 0)) || '****',
        dialled = left(dialled, greatest(length(dialled) - 4, 0)) || '****', call = id::text, a_call_id = '',
        b_call_id = CASE WHEN b_call_id IS NULL THEN NULL ELSE '' END, reason = ''
    WHERE id IN (SELECT id FROM cdrs WHERE tenant_id = %(tenant)s AND NOT forgotten AND started_at < %(before)s
        ORDER BY started_at LIMIT %(limit)s)
"""
DELETE = """
    DELETE FROM cdrs WHERE id IN (SELECT id FROM cdrs WHERE tenant_id = %(tenant)s AND started_at < %(before)s
        ORDER BY started_at LIMIT %(limit)s)
"""


@dataclass(slots=True)
class Purged:
    """How many of each went."""

    records_deleted: int = 0
    records_forgotten: int = 0
    audit_entries: int = 0
    answers: int = 0
    sessions: int = 0
    callers: int = 0


async def purge(pool: AsyncPool, now: datetime) -> Purged:
    """Delete and forget what is older than policy allows, a few thousand rows at a time. Raises DatabaseUnavailable."""
    done = Purged()
    try:
        async with pool.connection() as connection:
            tenants = await (await connection.execute("SELECT * FROM tenants")).fetchall()
        for tenant in tenants:
            cdrs, persons = (now - timedelta(days=tenant[name]) for name in ("cdr_days", "personal_days"))
            done.records_deleted += await _in_pieces(pool, DELETE, tenant["id"], cdrs)
            done.records_forgotten += await _in_pieces(pool, FORGET, tenant["id"], persons)
            async with pool.connection() as connection, connection.transaction():
                kept = timedelta(days=tenant["audit_days"])
                done.audit_entries += await audit.forget(connection, tenant["id"], now - kept)
        await _purge_shared(pool, now, done)
    except psycopg.OperationalError as error:
        raise unavailable(error) from error
    return done


def shown(purged: Purged) -> dict[str, int]:
    """Return what went, as JSON can carry it."""
    return asdict(purged)


async def _in_pieces(pool: AsyncPool, sql: str, tenant: int, before: datetime) -> int:
    total = 0
    while True:
        async with pool.connection() as connection:
            changed = await connection.execute(sql.encode(), {"tenant": tenant, "before": before, "limit": AT_ONCE})
        total += changed.rowcount
        if changed.rowcount < AT_ONCE:
            return total


async def _purge_shared(pool: AsyncPool, now: datetime, done: Purged) -> None:
    async with pool.connection() as connection:
        done.answers = (
            await connection.execute("DELETE FROM idempotency WHERE created_at < %s", [now - ANSWERS])
        ).rowcount
        done.sessions = (
            await connection.execute("DELETE FROM sessions WHERE least(expires_at, revoked_at) < %s", [now - SESSIONS])
        ).rowcount
        await connection.execute("DELETE FROM registrations WHERE expires_at < %s", [now - ANSWERS])
        await deliveries.purge(connection, now)
        done.callers = (
            await connection.execute("DELETE FROM acd_callers WHERE lease < %s", [(now - ANSWERS).timestamp()])
        ).rowcount
