# SPDX-License-Identifier: GPL-3.0-or-later
"""The database as a worker uses it: it reads users and stores its own call records; all else is the controller's."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ctl.config import Config
from ctl.storage import Storage

POOL_SIZE = 3


class WorkerStorage(Storage):
    """reachable: set when the controller has the database up and its schema in order."""

    def __init__(self, config: Config, state: Path) -> None:
        super().__init__(config, state, pool_size=POOL_SIZE)
        self.reachable = asyncio.Event()

    def claim(self) -> None:
        """Nothing: the controller has it."""

    async def run(self, patient: bool) -> None:
        """Keep users and records moving, from when there is a database."""
        await self.reachable.wait()
        async with self.pool:
            self._trouble = None
            self._open.set()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.keeper.run(), name="users")
                tasks.create_task(self.writer.run(), name="call records")
