# SPDX-License-Identifier: GPL-3.0-or-later
"""The boards of all tenants in PostgreSQL, as one host changes them."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2s
from pathlib import Path

from ctl.storage import Storage
from provisioning import acd_store
from provisioning.acd import Board, Effect
from provisioning.store import Scope

ACTOR = "queues"


def node_of(secret: bytes, state: Path) -> str:
    """The name on the boards of the process that has this state directory, the same after a restart."""
    return blake2s(str(state).encode(), key=secret[:32], person=b"acd-node", digest_size=8).hexdigest()


class StoredBoards:
    """node: the name of this host, the same after a restart."""

    def __init__(self, storage: Storage, node: str) -> None:
        self._storage = storage
        self._node = node

    async def act(self, tenant: int, change: Callable[[Board], list[Effect]]) -> tuple[list[Effect], Board]:
        """Change the board of a tenant; what is to be done, and the board. Raises ProvisioningError, psycopg.Error."""
        await self._storage.ready()
        snapshot = self._storage.keeper.current
        plan = snapshot.plan(tenant)
        boards: list[Board] = []

        def noted(board: Board) -> list[Effect]:
            boards.append(board)
            return change(board)

        scope = Scope(tenant, plan.name, plan.realm or snapshot.realm, ACTOR)
        async with self._storage.store.open(scope) as work:
            effects = await acd_store.act(work, self._node, noted)
        return effects, boards[0]

    async def occupied(self) -> set[int]:
        """The tenants on whose boards somebody is. Raises as `act` does."""
        await self._storage.ready()
        async with self._storage.pool.connection() as connection:
            return await acd_store.occupied(connection)
