# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be told to webhooks: kept in PostgreSQL from the event on until it was taken, or given up.

A delivery belongs to whoever has claimed it until its `next_at`; should that one die, another host sends it again. So
each is made at least once, and bears the id of its event, by which a receiver knows what it has seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from provisioning.errors import NotFound
from provisioning.resources import WEBHOOK
from provisioning.sealing import WEBHOOK_SECRET
from provisioning.store import Connection, Workspace
from provisioning.vault import Vault

KEPT = timedelta(days=7)
"""For so long what was delivered, or given up, can be looked at."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a tenant. type: such as call.ended; data: what JSON can carry."""

    id: UUID
    tenant: int
    type: str
    at: datetime
    data: Mapping[str, Any]

    def body(self, source: str) -> str:
        """Return the message that receivers get, in the manner of CloudEvents."""
        envelope = {
            "id": str(self.id),
            "type": self.type,
            "time": self.at.isoformat(),
            "source": source,
            "data": dict(self.data),
        }
        return json.dumps(envelope, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one webhook. secret: its messages are signed with that, None: not at all."""

    tenant: int
    webhook: str
    event: UUID
    type: str
    body: str
    attempts: int
    created_at: datetime
    url: str
    secret: str | None


@dataclass(frozen=True, slots=True)
class DeliveryState:
    """What may be seen of a delivery. status: of HTTP, the last one; error: why it failed, the last time."""

    event: UUID
    type: str
    state: str
    attempts: int
    created_at: datetime
    next_at: datetime
    finished_at: datetime | None
    status: int | None
    error: str | None


async def wanted(connection: Connection) -> dict[int, frozenset[str]]:
    """Return the types of events that somebody wants, by tenant. The connection is bound to no tenant."""
    found: dict[int, set[str]] = {}
    rows = await (await connection.execute("SELECT tenant_id, events FROM webhooks WHERE enabled")).fetchall()
    for row in rows:
        found.setdefault(row["tenant_id"], set()).update(row["events"])
    return {tenant: frozenset(types) for tenant, types in found.items()}


async def add(connection: Connection, events: Iterable[Event], source: str) -> None:
    """Keep events for every webhook that wants them; one that is kept already changes nothing."""
    async with connection.cursor() as cursor:
        await cursor.executemany(
            """
            INSERT INTO webhook_deliveries (tenant_id, webhook, event, type, body, created_at)
            SELECT tenant_id, name, %(event)s, %(type)s, %(body)s, %(at)s FROM webhooks
            WHERE tenant_id = %(tenant)s AND enabled AND events ? %(type)s
            ON CONFLICT DO NOTHING
            """,
            [
                {"tenant": each.tenant, "event": each.id, "type": each.type, "body": each.body(source), "at": each.at}
                for each in events
            ],
        )


async def send_test(work: Workspace, webhook: str, event: Event, source: str) -> None:
    """Keep an event for one webhook, whatever it wants. Raises NotFound."""
    await work.get(WEBHOOK, webhook)
    await work.connection.execute(
        "INSERT INTO webhook_deliveries (tenant_id, webhook, event, type, body) VALUES (%s, %s, %s, %s, %s)",
        [work.scope.tenant, webhook, event.id, event.type, event.body(source)],
    )


async def claim(connection: Connection, vault: Vault, limit: int, lease: float) -> list[Delivery]:
    """Take deliveries that are due, for so many seconds; no other host has them meanwhile. Raises VaultError."""
    cursor = await connection.execute(
        """
        UPDATE webhook_deliveries AS d SET next_at = now() + make_interval(secs => %(lease)s), attempts = d.attempts + 1
        FROM webhooks AS w
        WHERE w.tenant_id = d.tenant_id AND w.name = d.webhook AND (d.tenant_id, d.webhook, d.event) IN (
            SELECT tenant_id, webhook, event FROM webhook_deliveries AS due
            WHERE state = 'waiting' AND next_at <= now() AND EXISTS (
                SELECT FROM webhooks WHERE tenant_id = due.tenant_id AND name = due.webhook AND enabled)
            ORDER BY next_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
        RETURNING d.tenant_id, d.webhook, d.event, d.type, d.body, d.attempts, d.created_at, w.url, w.secret
        """,
        {"lease": lease, "limit": limit},
    )
    names = ("webhook", "event", "type", "body", "attempts", "created_at", "url")
    return [
        Delivery(row["tenant_id"], **{name: row[name] for name in names}, secret=_open(vault, row))
        for row in await cursor.fetchall()
    ]


async def delivered(connection: Connection, delivery: Delivery, status: int) -> None:
    """It was taken; so the webhook has not failed."""
    await connection.execute(
        "UPDATE webhook_deliveries SET state = 'delivered', status = %s, error = NULL, finished_at = now()"
        " WHERE tenant_id = %s AND webhook = %s AND event = %s",
        [status, delivery.tenant, delivery.webhook, delivery.event],
    )
    await connection.execute(
        "UPDATE webhooks SET failures = 0 WHERE tenant_id = %s AND name = %s AND failures > 0",
        [delivery.tenant, delivery.webhook],
    )


async def failed(
    connection: Connection, delivery: Delivery, status: int | None, error: str, again: float | None
) -> int:
    """It was not taken: send it again in so many seconds, None: give it up. Returns the webhook's failures in a row."""
    await connection.execute(
        "UPDATE webhook_deliveries SET status = %(status)s, error = %(error)s,"
        " state = CASE WHEN %(again)s::float8 IS NULL THEN 'given_up' ELSE state END,"
        " finished_at = CASE WHEN %(again)s::float8 IS NULL THEN now() END,"
        " next_at = now() + make_interval(secs => coalesce(%(again)s::float8, 0))"
        " WHERE tenant_id = %(tenant)s AND webhook = %(webhook)s AND event = %(event)s",
        {"status": status, "error": error, "again": again, "tenant": delivery.tenant,
         "webhook": delivery.webhook, "event": delivery.event},
    )  # fmt: skip
    cursor = await connection.execute(
        "UPDATE webhooks SET failures = failures + 1 WHERE tenant_id = %s AND name = %s RETURNING failures",
        [delivery.tenant, delivery.webhook],
    )
    row = await cursor.fetchone()
    return int(row["failures"]) if row else 0


async def disable(work: Workspace, webhook: str) -> None:
    """Send nothing to a webhook any more until somebody enables it; what waits for it is kept."""
    try:
        await work.merge(WEBHOOK, webhook, {"enabled": False})
    except NotFound:
        return
    await work.connection.execute(
        "UPDATE webhooks SET failures = 0 WHERE tenant_id = %s AND name = %s", [work.scope.tenant, webhook]
    )


async def listing(work: Workspace, webhook: str, limit: int) -> list[DeliveryState]:
    """Return the deliveries of a webhook, the newest first. Raises NotFound."""
    await work.get(WEBHOOK, webhook)
    names = tuple(DeliveryState.__dataclass_fields__)
    cursor = await work.connection.execute(
        "SELECT * FROM webhook_deliveries WHERE tenant_id = %s AND webhook = %s ORDER BY created_at DESC LIMIT %s",
        [work.scope.tenant, webhook, limit],
    )
    return [DeliveryState(**{name: row[name] for name in names}) for row in await cursor.fetchall()]


async def purge(connection: Connection, now: datetime) -> int:
    """Forget what was finished long ago; how many."""
    before = now - KEPT
    return (await connection.execute("DELETE FROM webhook_deliveries WHERE finished_at < %s", [before])).rowcount


def _open(vault: Vault, row: Mapping[str, Any]) -> str | None:
    secret = row["secret"]
    return None if secret is None else vault.open(secret, WEBHOOK_SECRET.owner(row["tenant_id"], row["webhook"]))
