# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of messages to webhooks, and one to try them with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID, uuid4

from pydantic import BaseModel, ConfigDict, Field

from api.operation import Context, Operation, Reply
from provisioning.deliveries import Event, listing, send_test
from provisioning.models import Name

TEST = "webhook.test"


class DeliveryView(BaseModel):
    """One event for one webhook. status: of HTTP, the last one; error: why it was not taken, the last time."""

    event: UUID
    type: str
    state: Literal["waiting", "delivered", "given_up"]
    attempts: int
    created_at: datetime
    next_at: datetime
    finished_at: datetime | None
    status: int | None
    error: str | None


class DeliveryList(BaseModel):
    """The last ones, the newest first."""

    items: list[DeliveryView]


class TestSent(BaseModel):
    """The id of the event that was made."""

    event: UUID


class DeliveryQuery(BaseModel):
    """How many to show."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=1000)] = 100


def operations() -> Iterator[Operation]:
    """Yield them."""
    key = {"key": Name}
    yield Operation("list_deliveries", "GET", "/webhooks/{key}/deliveries", "webhook:read",
                    "What became of messages to a webhook", _deliveries, "webhooks", reply=DeliveryList,
                    query=DeliveryQuery, parameters=key)  # fmt: skip
    yield Operation("test_webhook", "POST", "/webhooks/{key}/test", "webhook:update", "Send a webhook a message now",
                    _test, "webhooks", status=202, reply=TestSent, parameters=key, idempotent=True)  # fmt: skip


async def _deliveries(context: Context) -> Reply:
    found = await listing(context.workspace, context.path["key"], context.query.limit)
    return Reply(200, DeliveryList(items=[DeliveryView(**asdict(each)) for each in found]))


async def _test(context: Context) -> Reply:
    work, name = context.workspace, context.path["key"]
    event = Event(uuid4(), work.scope.tenant, TEST, context.services.clock(), {"webhook": name})
    await send_test(work, name, event, context.services.store.realm)
    await work.note("test", "webhook", name)
    return Reply(202, TestSent(event=event.id))
