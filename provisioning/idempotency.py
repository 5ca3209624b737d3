# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that come twice are done once: the first one's answer is stored in its own transaction, and given again.

A second request that comes while the first is under way waits for it, at the key of the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from provisioning.errors import KeyReused
from provisioning.store import Workspace


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered: status, body and headers."""

    status: int
    body: str
    headers: Mapping[str, str]


async def claim(work: Workspace, key: str, fingerprint: str) -> Answer | None:
    """Return the answer that was given under this key, None if this is its first request.

    Raises KeyReused if that was another request.
    """
    names = {"tenant": work.scope.tenant, "actor": work.scope.actor, "key": key, "fingerprint": fingerprint}
    claimed = await work.connection.execute(
        "INSERT INTO idempotency (tenant_id, actor, key, fingerprint)"
        " VALUES (%(tenant)s, %(actor)s, %(key)s, %(fingerprint)s) ON CONFLICT DO NOTHING",
        names,
    )
    if claimed.rowcount:
        return None
    known = await work.connection.execute(
        "SELECT * FROM idempotency WHERE tenant_id = %(tenant)s AND actor = %(actor)s AND key = %(key)s", names
    )
    row: dict[str, Any] | None = await known.fetchone()
    if row is None or row["fingerprint"] != fingerprint or row["status"] is None:
        raise KeyReused(f"Idempotency-Key {key} was used for another request: choose a new one")
    return Answer(row["status"], row["body"], row["headers"])


async def keep(work: Workspace, key: str, answer: Answer) -> None:
    """Store the answer of the request that claimed the key."""
    await work.connection.execute(
        "UPDATE idempotency SET status = %s, body = %s, headers = %s WHERE tenant_id = %s AND actor = %s AND key = %s",
        [answer.status, answer.body, Jsonb(dict(answer.headers)), work.scope.tenant, work.scope.actor, key],
    )
