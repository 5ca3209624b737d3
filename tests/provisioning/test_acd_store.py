# SPDX-License-Identifier: GPL-3.0-or-later
"""Queues over PostgreSQL: nodes that act at the same time, and nodes that are killed."""

from __future__ import annotations

import asyncio
import random

import pytest

from provisioning.acd import LEASE, CallBack, Effect, Offer
from provisioning.acd_store import act, read
from provisioning.resources import AGENT, OBJECTS, QUEUE, USER
from provisioning.store import Scope, Store
from tests.provisioning.examples import EXAMPLES


async def fill(store: Store, scope: Scope) -> None:
    async with store.open(scope) as work:
        for resource in OBJECTS:
            await work.create(resource, resource.model.model_validate(EXAMPLES[resource.name][0], strict=False))
        await work.merge(QUEUE, "support", {"calendar": None, "callback": True})


async def test_what_one_node_does_the_next_one_knows(store: Store, scope: Scope) -> None:
    await fill(store, scope)
    async with store.open(scope) as work:
        assert await act(work, "n1", lambda board: board.join("c1", "support", 100.0)) == []
    async with store.open(scope) as work:
        assert await act(work, "n2", lambda board: board.set_agent("anna", "available", 101.0)) == []
    async with store.open(scope) as work:
        effects = await act(work, "n1", lambda board: board.renew(102.0))
        assert effects == [Offer("c1", "anna", 20)]
    async with store.open(scope) as work:
        await act(work, "n1", lambda board: board.answered("c1", 103.0))
    async with store.open(scope) as work:
        board = await read(work)
        assert (board.agents["anna"].state, board.callers["c1"].answered) == ("talking", True)
    async with store.open(scope) as work:  # n1 is dead
        await act(work, "n2", lambda board: board.renew(103.5 + LEASE))
        board = await read(work)
        assert not board.callers
        assert board.agents["anna"].state == "wrap_up"


async def test_a_transaction_that_fails_has_moved_nothing(store: Store, scope: Scope) -> None:
    await fill(store, scope)

    async def fail() -> None:
        async with store.open(scope) as work:
            await act(work, "n1", lambda board: board.join("c1", "support", 100.0))
            raise RuntimeError("killed here")

    with pytest.raises(RuntimeError):
        await fail()
    async with store.open(scope) as work:
        assert not (await read(work)).callers


async def test_an_agent_is_rung_for_one_caller_however_many_nodes_ask_at_once(store: Store, scope: Scope) -> None:
    await fill(store, scope)
    async with store.open(scope) as work:
        await act(work, "n0", lambda board: board.set_agent("anna", "available", 1.0))

    async def node(number: int) -> list[Effect]:
        await asyncio.sleep(random.random() * 0.01)
        async with store.open(scope) as work:
            return await act(work, f"n{number}", lambda board: board.join(f"c{number}", "support", 2.0))

    effects = [effect for found in await asyncio.gather(*map(node, range(12))) for effect in found]
    assert [type(effect) for effect in effects] == [Offer]
    async with store.open(scope) as work:
        assert len((await read(work)).callers) == 12


async def test_callbacks_outlive_everything_but_their_day(store: Store, scope: Scope) -> None:
    await fill(store, scope)
    async with store.open(scope) as work:
        await act(work, "n1", lambda board: board.join("c1", "support", 1.0))
        await act(work, "n1", lambda board: board.ask_for_callback("c1", "+33123456789", 2.0))
    async with store.open(scope) as work:
        effects = await act(work, "n2", lambda board: board.set_agent("anna", "available", 5000.0))
    assert effects == [CallBack("c1", "anna", "+33123456789", 20)]


async def test_what_is_deleted_or_disabled_leaves_the_board(store: Store, scope: Scope) -> None:
    await fill(store, scope)
    async with store.open(scope) as work:
        await act(work, "n1", lambda board: board.set_agent("anna", "available", 1.0))
        await act(work, "n1", lambda board: board.join("c1", "support", 2.0))
    async with store.open(scope) as work:
        await work.merge(AGENT, "anna", {"enabled": False})
    async with store.open(scope) as work:
        await act(work, "n1", lambda board: board.renew(3.0))
        await act(work, "n1", lambda board: board.refused("c1", 4.0))
        assert (await work.get(USER, "anna")).key == "anna"
        board = await read(work)
        assert (board.callers["c1"].agent, list(board.agents)) == (None, [])
