# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller keeps in PostgreSQL and on the way there: users in, call records out.

PostgreSQL may come late and go away: the last users serve, and records wait in their journal.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import structlog
from psycopg_pool import PoolTimeout

from ctl.config import Config
from ctl.keyring import KeyRing
from ctl.signalling.core import listen_addresses
from provisioning.admission import Payer
from provisioning.cdr_search import spent_since
from provisioning.cdr_writer import CdrWriter
from provisioning.database import ask_async, make_pool
from provisioning.embedded import EmbeddedPostgres
from provisioning.errors import DatabaseUnavailable
from provisioning.journal import CdrJournal
from provisioning.migrate import migrate
from provisioning.refresh import SnapshotKeeper
from provisioning.retention import Purged, purge, shown
from provisioning.sealing import seal_all
from provisioning.store import Connection, Store

POOL_SIZE = 10
PURGE_SECONDS = 3600.0
RETRY_SECONDS = 2.0
TELL_EVERY = 30
"""Attempts to reach PostgreSQL of which one is logged, while they fail alike."""
READY_SECONDS = 8.0
SETTLE_SECONDS = 2.0
KEYS_SECONDS = 10.0
GATHER_SECONDS = 0.05
"""Between two writes of call records to the disk; nothing waits for them but the live journal's own tidying."""
STORE_SECONDS = 0.25
"""Between two batches of them into PostgreSQL."""

log = structlog.get_logger()


async def _nobody_else() -> None:
    """No other process uses the keys, or serves the users."""


class Storage:
    """Owner of the database, embedded or not, of its connections and of the journal of call records."""

    def __init__(self, config: Config, state: Path | None = None, pool_size: int = POOL_SIZE) -> None:
        """state: where call records wait, if not where the configuration says."""
        self._embedded: EmbeddedPostgres | None = None
        if not config.database.url:
            self._embedded = EmbeddedPostgres(
                config.database.directory, os_user=config.database.os_user, binaries=config.database.binaries
            )
        self.conninfo = self._embedded.conninfo if self._embedded else config.database.url
        self._keys = KeyRing(config)
        self.vault = self._keys.vault
        hosts = [config.sip.domain, *(address.host for address in listen_addresses(config))]
        self.keeper = SnapshotKeeper(self.conninfo, self.vault, config.sip.domain, hosts)
        self.pool = make_pool(self.conninfo, size=pool_size)
        self.store = Store(self.pool, self.vault, config.sip.domain)
        self.journal = CdrJournal((state or config.run.state) / "cdr", gather=GATHER_SECONDS)
        self.writer = CdrWriter(self.journal, self.pool, STORE_SECONDS)
        self.on_spent: Callable[[Mapping[tuple[date, Payer], int]], None] = lambda _: None
        """Told once what was spent today, when the database has been reached."""
        self.on_keys: Callable[[], Coroutine[Any, Any, None]] = _nobody_else
        """Awaited when the file of keys has changed, by those who share it."""
        self.on_change: Callable[[], Coroutine[Any, Any, None]] = _nobody_else
        """Awaited when users or plans have changed, until the others that serve them know."""
        self._trouble: str | None = "starting"
        self._open = asyncio.Event()

    @property
    def trouble(self) -> str | None:
        """Why users or records are not up to date, None while they are."""
        return self._trouble or self.keeper.trouble or self.writer.trouble

    async def ready(self) -> None:
        """Wait until PostgreSQL has been reached. Raises DatabaseUnavailable after some seconds."""
        try:
            await asyncio.wait_for(self._open.wait(), READY_SECONDS)
        except TimeoutError:
            raise DatabaseUnavailable(f"the database is not there: {self._trouble}") from None

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """Give a connection that is bound to no tenant. Raises psycopg.Error, PoolTimeout."""
        return self.pool.connection()

    async def rotate_key(self) -> int:
        """Seal every secret with a new key and forget the old ones; return how many. Raises VaultError."""
        await self.ready()
        loop = asyncio.get_running_loop()

        def written() -> None:
            asyncio.run_coroutine_threadsafe(self.on_keys(), loop).result(KEYS_SECONDS)

        return await asyncio.to_thread(self._keys.rotate, self.conninfo, written)

    def reread_keys(self) -> None:
        """Use the keys that another process has written. Raises VaultError."""
        self._keys.reread()

    async def caught_up(self) -> None:
        """Return once users and plans are known as they are in the database now, or cannot be read."""
        with suppress(DatabaseUnavailable, PoolTimeout):
            await self.ready()
            await self.keeper.caught_up(self.pool)

    async def settle(self) -> None:
        """Give the records that are on disk a moment to reach PostgreSQL; what does not, does at the next start."""
        if self._open.is_set():
            await self.journal.drained(SETTLE_SECONDS)

    def claim(self) -> None:
        """Take the embedded server's directory now, so that nothing is served without it. Raises ProvisioningError."""
        if self._embedded:
            self._embedded.claim()

    async def run(self, patient: bool) -> None:
        """Start PostgreSQL if it is ours, bring the schema up to date, then keep users and records moving.

        patient: go on trying while it cannot be had, as with calls to serve. Else raises ProvisioningError.
        """
        async with AsyncExitStack() as stack:
            await self._reach(stack, patient or not self._embedded)
            await stack.enter_async_context(self.pool)
            await self._tell_spent()
            self._trouble = None
            self._open.set()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.keeper.run(), name="users")
                tasks.create_task(self.writer.run(), name="call records")
                tasks.create_task(self._keep_policy(), name="retention")

    async def purge(self) -> Purged:
        """Delete and forget now what policy does not keep. Raises DatabaseUnavailable."""
        await self.ready()
        return await purge(self.pool, datetime.now(UTC))

    async def _keep_policy(self) -> None:
        while True:
            try:
                done = await self.purge()
                log.info("retention", **shown(done))
            except DatabaseUnavailable as error:
                log.warning("retention waits for PostgreSQL", why=str(error))
            await asyncio.sleep(PURGE_SECONDS)

    async def _tell_spent(self) -> None:
        """Say what was spent today; calls that a budget would refuse are few while PostgreSQL is away."""
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        try:
            spent = await ask_async(self.pool, spent_since(midnight))
        except (DatabaseUnavailable, PoolTimeout) as error:
            log.warning("what was spent today is not known", why=str(error))
            return
        self.on_spent({(midnight.date(), payer): micros for payer, micros in spent.items()})

    async def _reach(self, stack: AsyncExitStack, patient: bool) -> None:
        for attempt in itertools.count():
            try:
                if self._embedded:
                    await self._embedded.start()
                    stack.push_async_callback(self._embedded.stop)
                applied = await asyncio.to_thread(migrate, self.conninfo)
                await asyncio.to_thread(seal_all, self.conninfo, self.vault)
            except DatabaseUnavailable as error:
                changed, self._trouble = self._trouble != str(error), str(error)
                if not patient:
                    raise
                if changed or attempt % TELL_EVERY == 0:
                    log.warning("no database yet", why=self._trouble)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                log.info("database ready", embedded=bool(self._embedded), migrations_applied=len(applied))
                return
