# SPDX-License-Identifier: GPL-3.0-or-later
"""From an event to the rows in PostgreSQL that tell webhooks of it, with a journal in between.

An event is in the journal before anything else happens to it, so that a process that is killed, or a PostgreSQL that is
away, costs none. What nobody wants is not kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Set
from contextlib import AbstractAsyncContextManager, suppress
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID, uuid4

import structlog
from psycopg import Error as DatabaseError
from psycopg_pool import PoolTimeout

from ctl.journal import Journal
from provisioning import deliveries
from provisioning.deliveries import Event
from provisioning.errors import ProvisioningError
from provisioning.store import Connection

EVENT = "event"
LOOK_SECONDS = 2.0
AT_ONCE = 500
MAX_WAITING = 100_000
"""Events at most that wait for PostgreSQL; further ones are lost, and counted."""

log = structlog.get_logger()
TROUBLE = (ProvisioningError, DatabaseError, PoolTimeout, OSError)


class Database(Protocol):
    """What is asked of the storage."""

    async def ready(self) -> None:
        """Wait for PostgreSQL. Raises DatabaseUnavailable."""

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """A connection that is bound to no tenant."""


class Outbox:
    """source: who we are, in the messages. `tell` is called from the event loop, `run` is its task."""

    def __init__(self, database: Database, journal: Journal, source: str) -> None:
        self._database = database
        self._journal = journal
        self._source = source
        self._waiting: dict[UUID, Event] = {}
        self._wanted: Mapping[int, Set[str]] | None = None
        self._woken = asyncio.Event()
        self.kept = asyncio.Event()
        """Set when there is something new to be sent."""
        self.told = self.lost = 0

    def restore(self, states: Mapping[str, Any]) -> None:
        """Take up what a former process had not brought to PostgreSQL."""
        for key, state in states.items():
            event = Event(UUID(key), state["tenant"], state["type"], datetime.fromisoformat(state["at"]), state["data"])
            self._waiting[event.id] = event

    def wants(self, kind: str) -> bool:
        """Whether any tenant does, as far as we know."""
        return self._wanted is None or any(kind in kinds for kinds in self._wanted.values())

    def tell(self, tenant: int, kind: str, **data: Any) -> None:
        """Something happened; before we know who wants what, all of it is kept."""
        if self._wanted is not None and kind not in self._wanted.get(tenant, ()):
            return
        if len(self._waiting) >= MAX_WAITING:
            self.lost += 1
            return
        event = Event(uuid4(), tenant, kind, datetime.now(UTC), data)
        self.told += 1
        self._waiting[event.id] = event
        state = {"tenant": tenant, "type": kind, "at": event.at.isoformat(), "data": data}
        try:
            self._journal.put(EVENT, str(event.id), state)
        except OSError as error:
            log.error("an event is not journaled; free space on its disk", type=kind, error=error.strerror)
        self._woken.set()

    async def run(self) -> None:
        """Bring events to PostgreSQL until cancelled."""
        trouble = ""
        while True:
            try:
                await self._bring()
                trouble = ""
            except TROUBLE as error:
                if not trouble:
                    log.warning("events for webhooks wait for PostgreSQL", why=str(error).strip())
                trouble = "away"
                await asyncio.sleep(1.0)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._woken.wait()
            self._woken.clear()

    async def _bring(self) -> None:
        await self._database.ready()
        async with self._database.connection() as connection:
            self._wanted = await deliveries.wanted(connection)
        while self._waiting:
            events = list(self._waiting.values())[:AT_ONCE]
            some = [event for event in events if event.type in self._wanted.get(event.tenant, ())]
            if some:
                async with self._database.connection() as connection, connection.transaction():
                    await deliveries.add(connection, some, self._source)
                self.kept.set()
            for event in events:
                del self._waiting[event.id]
                self._journal.remove(EVENT, str(event.id))
