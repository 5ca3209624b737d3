# SPDX-License-Identifier: GPL-3.0-or-later
"""Who waits in queues now, and what agents do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Literal

from pydantic import BaseModel

from api.operation import Context, Operation, Reply
from provisioning.acd_store import ANY_NODE, act, read
from provisioning.errors import NotFound
from provisioning.models import Body, Name


class CallerView(BaseModel):
    """One who waits, rings or talks; position 1 is next, 0 waits no more. Times are Unix time in seconds."""

    id: str
    queue: str
    joined: float
    priority: int
    position: int
    agent: str | None
    answered: bool
    number: str | None


class AgentView(BaseModel):
    """What an agent does, and since when."""

    name: str
    state: Literal["off", "available", "paused", "ringing", "talking", "wrap_up"]
    since: float


class BoardView(BaseModel):
    """All callers and agents."""

    callers: list[CallerView]
    agents: list[AgentView]


class StateBody(Body):
    """What the agent is to do; in a call, once that is over."""

    state: Literal["off", "available", "paused"]


def operations() -> Iterator[Operation]:
    """Yield them."""
    yield Operation("show_board", "GET", "/board", "queue:read", "Show who waits and what agents do", _board, "queues",
                    reply=BoardView)  # fmt: skip
    yield Operation("set_agent_state", "PUT", "/agents/{key}/state", "agent:update", "Let an agent come, pause or go",
                    _state, "agents", reply=AgentView, body=StateBody, parameters={"key": Name})  # fmt: skip


async def _board(context: Context) -> Reply:
    board = await read(context.workspace)
    board.tick(context.services.clock().timestamp())
    callers = [asdict(caller) | {"position": board.position(caller.id)} for caller in board.callers.values()]
    names = CallerView.model_fields
    shown = [CallerView(**{name: each[name] for name in names}) for each in callers]
    agents = [AgentView(name=each.name, state=each.state, since=each.since) for each in board.agents.values()]
    return Reply(200, BoardView(callers=shown, agents=agents))


async def _state(context: Context) -> Reply:
    name, state = context.path["key"], context.body.state
    now = context.services.clock().timestamp()
    board = await read(context.workspace)
    if name not in board.agents:
        raise NotFound(f"no agent {name}, or it is disabled")
    await act(context.workspace, ANY_NODE, lambda board: board.set_agent(name, state, now))
    agent = (await read(context.workspace)).agents[name]
    await context.workspace.note(state, "agent", name)
    return Reply(200, AgentView(name=name, state=agent.state, since=agent.since))
