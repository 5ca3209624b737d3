# SPDX-License-Identifier: GPL-3.0-or-later
"""The board of a tenant's queues in PostgreSQL: read, moved on and written back in one transaction.

Whoever acts on a tenant's board has it alone for that transaction, so any number of nodes may.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

from psycopg.sql import SQL, Composed, Identifier, Placeholder

from provisioning.acd import Agent, Board, Caller, Effect, QueueRule
from provisioning.resources import AGENT, QUEUE
from provisioning.store import Connection, Workspace

LOCK = 0x616364 << 40
DYNAMIC = ("state", "since", "until", "offered", "leaving")
CALLER = tuple(each.name for each in fields(Caller))
ANY_NODE = ""


async def act(work: Workspace, node: str, event: Callable[[Board], list[Effect]]) -> list[Effect]:
    """Do something with the board, such as `lambda board: board.join("c1", "sales", now)`; return what is to be done.

    The effects are to be carried out after the commit; if that fails, the lease ends what they were for.
    """
    await work.connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK + work.scope.tenant])
    board = await read(work, node)
    before = copy.deepcopy((board.agents, board.callers))
    effects = event(board)
    await _write(work, board, *before)
    return effects


async def read(work: Workspace, node: str = ANY_NODE) -> Board:
    """Return the board as it was written last; what has expired since is still on it."""
    rules = {str(row["name"]): _rule(row) for row in await _all(work, QUEUE)}
    agents = {str(row["name"]): _agent(row) for row in await _all(work, AGENT) if row["enabled"]}
    for row in await _rows(work, "SELECT * FROM acd_agents WHERE tenant_id = %s"):
        if (agent := agents.get(row["name"])) is not None:
            for name in DYNAMIC:
                setattr(agent, name, row[name])
    callers = await _rows(work, "SELECT * FROM acd_callers WHERE tenant_id = %s")
    return Board(node, rules, agents, {row["id"]: Caller(**{name: row[name] for name in CALLER}) for row in callers})


async def occupied(connection: Connection) -> set[int]:
    """Return the tenants that have callers, or somebody to be called back. The connection is bound to no tenant."""
    rows = await (await connection.execute("SELECT DISTINCT tenant_id FROM acd_callers")).fetchall()
    return {row["tenant_id"] for row in rows}


async def _write(work: Workspace, board: Board, agents: dict[str, Agent], callers: dict[str, Caller]) -> None:
    for name, agent in board.agents.items():
        if agent != agents[name]:
            row = {"name": name, **{each: getattr(agent, each) for each in DYNAMIC}}
            await work.connection.execute(AGENT_UPSERT, row | {"tenant_id": work.scope.tenant})
    for identifier, caller in board.callers.items():
        if caller != callers.get(identifier):
            await work.connection.execute(CALLER_UPSERT, asdict(caller) | {"tenant_id": work.scope.tenant})
    gone = list(callers.keys() - board.callers.keys())
    if gone:
        await work.connection.execute(
            "DELETE FROM acd_callers WHERE tenant_id = %s AND id = ANY(%s)", [work.scope.tenant, gone]
        )


def _upsert(table: str, key: str, columns: tuple[str, ...]) -> Composed:
    names = ("tenant_id", *columns)
    return SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT (tenant_id, {}) DO UPDATE SET {}").format(
        Identifier(table),
        SQL(", ").join(map(Identifier, names)),
        SQL(", ").join(map(Placeholder, names)),
        Identifier(key),
        SQL(", ").join(SQL("{0} = excluded.{0}").format(Identifier(name)) for name in columns),
    )


AGENT_UPSERT = _upsert("acd_agents", "name", ("name", *DYNAMIC))
CALLER_UPSERT = _upsert("acd_callers", "id", CALLER)


async def _all(work: Workspace, resource: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    page = await work.page(resource, limit=1000)
    while page:
        found += [dict(each.values) for each in page]
        page = await work.page(resource, after=page[-1].key, limit=1000) if len(page) == 1000 else []
    return found


async def _rows(work: Workspace, sql: str) -> list[dict[str, Any]]:
    return await (await work.connection.execute(sql.encode(), [work.scope.tenant])).fetchall()


def _rule(row: dict[str, Any]) -> QueueRule:
    same = ("name", "strategy", "ring_seconds", "wrap_up_seconds", "max_wait_seconds", "max_length", "overflow",
            "announce_seconds", "callback", "callback_digit", "music", "welcome", "position_prompts")  # fmt: skip
    return QueueRule(
        by_priority=row["discipline"] == "priority",
        skills={each["skill"]: each["level"] for each in row["skills"]},
        agents={each["agent"]: each["tier"] for each in row["agents"]},
        **{name: row[name] for name in same},
    )


def _agent(row: dict[str, Any]) -> Agent:
    skills = {each["skill"]: each["level"] for each in row["skills"]}
    return Agent(row["name"], wrap_up_seconds=row["wrap_up_seconds"], skills=skills, user=row["user"])
