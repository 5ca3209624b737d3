# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit: who changed what, from what into what, in a chain of hashes for each tenant.

An entry's hash is SHA-256 of the hash before it and of the entry as JSON with sorted keys. An entry is added in the
transaction of its change, so that there is neither a change without its entry nor an entry without its change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from provisioning.database import Question, Rows

LOCK = 0x766F78 << 40
FIRST = bytes(32)
PAGE = 100

Connection = psycopg.AsyncConnection[DictRow]


@dataclass(frozen=True, slots=True)
class Entry:
    """One change. Secrets are never part of `before` and `after`."""

    sequence: int
    at: datetime
    actor: str
    address: str
    action: str
    resource: str
    key: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None

    def hash(self, previous: bytes) -> bytes:
        """Return this entry's hash, given that of the one before it."""
        fields = [self.sequence, self.at.astimezone(UTC).isoformat(timespec="microseconds"), self.actor, self.address,
                  self.action, self.resource, self.key, self.before, self.after]  # fmt: skip
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"), default=_plain)
        return hashlib.sha256(previous + text.encode()).digest()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a look along the chain found. broken: the first entry that does not follow from the one before it."""

    entries: int
    broken: int | None


async def append(
    connection: Connection,
    tenant: int,
    *,
    actor: str,
    address: str,
    action: str,
    resource: str,
    key: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Add an entry to the tenant's chain, in the transaction of `connection`; others wait until that ends."""
    await connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK + tenant])
    last = await (await connection.execute(
        "SELECT sequence, hash FROM audit WHERE tenant_id = %(tenant)s"
        " UNION ALL SELECT sequence, hash FROM audit_anchors WHERE tenant_id = %(tenant)s"
        " ORDER BY sequence DESC LIMIT 1", {"tenant": tenant}
    )).fetchone()  # fmt: skip
    sequence, previous = (last["sequence"] + 1, bytes(last["hash"])) if last else (1, FIRST)
    before, after = _documents(before), _documents(after)
    entry = Entry(sequence, datetime.now(UTC), actor, address, action, resource, key, before, after)
    await connection.execute(
        "INSERT INTO audit (tenant_id, sequence, at, actor, address, action, resource, key, before, after, hash)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        [tenant, sequence, entry.at, actor, address, action, resource, key,
         Jsonb(before) if before is not None else None, Jsonb(after) if after is not None else None,
         entry.hash(previous)],
    )  # fmt: skip


async def verify(connection: Connection, tenant: int) -> Verdict:
    """Follow the chain from its beginning, or from where older entries were deleted by policy."""
    anchor = await (
        await connection.execute("SELECT sequence, hash FROM audit_anchors WHERE tenant_id = %s", [tenant])
    ).fetchone()
    sequence, previous = (anchor["sequence"], bytes(anchor["hash"])) if anchor else (0, FIRST)
    count = 0
    cursor = await connection.execute("SELECT * FROM audit WHERE tenant_id = %s ORDER BY sequence", [tenant])
    while rows := await cursor.fetchmany(500):
        for row in rows:
            entry = _entry(row)
            expected = entry.hash(previous)
            if entry.sequence != sequence + 1 or expected != bytes(row["hash"]):
                return Verdict(count, entry.sequence)
            sequence, previous, count = entry.sequence, expected, count + 1
    return Verdict(count, None)


async def forget(connection: Connection, tenant: int, before: datetime) -> int:
    """Delete the entries older than `before` and keep the hash the chain goes on from; return how many they were."""
    await connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK + tenant])
    last = await (await connection.execute(
        "SELECT sequence, hash FROM audit WHERE tenant_id = %s AND sequence < coalesce("
        " (SELECT min(sequence) FROM audit WHERE tenant_id = %s AND at >= %s), 9223372036854775807)"
        " ORDER BY sequence DESC LIMIT 1", [tenant, tenant, before]
    )).fetchone()  # fmt: skip
    if not last:
        return 0
    await connection.execute(
        "INSERT INTO audit_anchors (tenant_id, sequence, hash) VALUES (%s, %s, %s)"
        " ON CONFLICT (tenant_id) DO UPDATE SET sequence = excluded.sequence, hash = excluded.hash",
        [tenant, last["sequence"], last["hash"]],
    )
    deleted = await connection.execute(
        "DELETE FROM audit WHERE tenant_id = %s AND sequence <= %s", [tenant, last["sequence"]]
    )
    return deleted.rowcount


def listing(
    tenant: int, *, resource: str | None = None, key: str | None = None, before: int | None = None, limit: int = PAGE
) -> Question[list[Entry]]:
    """Entries, newest first, older than the sequence number `before`."""
    return Question(
        """
        SELECT * FROM audit
        WHERE tenant_id = %(tenant)s AND (%(before)s::bigint IS NULL OR sequence < %(before)s)
          AND (%(resource)s::text IS NULL OR resource = %(resource)s) AND (%(key)s::text IS NULL OR key = %(key)s)
        ORDER BY sequence DESC LIMIT %(limit)s
        """,
        {"tenant": tenant, "resource": resource, "key": key, "before": before, "limit": limit},
        _entries,
    )


def _entries(rows: Rows) -> list[Entry]:
    return [_entry(row) for row in rows]


def _entry(row: Mapping[str, Any]) -> Entry:
    names = ("sequence", "at", "actor", "address", "action", "resource", "key", "before", "after")
    return Entry(**{name: row[name] for name in names})


def _documents(value: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return what JSON makes of it, for that is what is hashed, now and when it was read again."""
    return None if value is None else json.loads(json.dumps(value, default=_plain))


def _plain(value: object) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
