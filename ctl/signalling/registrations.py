# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows the database who is registered here; signalling itself goes by its memory and journal."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import structlog
from psycopg_pool import PoolTimeout

from ctl.storage import Storage
from ctl.verbs.calls import address_text
from provisioning.charging import find_account
from provisioning.errors import DatabaseUnavailable
from provisioning.registrations import Registration, RegistrationMirror
from sip.core import Core

WRITE_SECONDS = 10.0

log = structlog.get_logger()


class RegistrationWatch:
    """Writes what changed every ten seconds; `run` does so until it is cancelled."""

    def __init__(self, core: Core, storage: Storage) -> None:
        self._core = core
        self._storage = storage
        self._mirror = RegistrationMirror(storage.pool, socket.gethostname())

    async def run(self) -> None:
        """Follow the registrations for ever; while PostgreSQL is away it shows what it knew."""
        while True:
            try:
                await self._storage.ready()
                await self._mirror.write(self._rows(time.monotonic(), datetime.now(UTC)))
            except (DatabaseUnavailable, PoolTimeout) as error:
                log.debug("registrations not written", why=str(error))
            await asyncio.sleep(WRITE_SECONDS)

    def _rows(self, monotonic: float, now: datetime) -> Iterator[Registration]:
        snapshot = self._storage.keeper.current
        for user in self._core.bindings():
            account = find_account(snapshot, user.username)
            for binding in user.bindings:
                if account is not None:
                    end = now + timedelta(seconds=binding.expires - monotonic)
                    received = address_text(binding.received)
                    yield Registration(account.tenant, user.username, binding.uri, received, binding.q, end)
