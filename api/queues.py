# SPDX-License-Identifier: GPL-3.0-or-later
"""Who waits in queues now, and what agents do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Literal
from uuid import uuid4

from pydantic import BaseModel, Field

from api.live import CallId
from api.operation import Context, Operation, Reply
from provisioning.acd_store import ANY_NODE, act, read
from provisioning.errors import NotFound
from provisioning.models import Body, Dialled, Name
from provisioning.resources import QUEUE


class CallerView(BaseModel):
    """One who waits, rings or talks; position 1 is next, 0 waits no more. Times are Unix time in seconds.

    caller: its name or number. number: whom to call back, where there is no call.
    """

    id: str
    queue: str
    caller: str
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


class CallbackBody(Body):
    """Whom to call back, as the tenant dials it."""

    number: Dialled
    priority: Annotated[int, Field(ge=0, le=1000)] = 0


class CallbackView(BaseModel):
    """The place that was taken on the board."""

    id: str
    queue: str
    number: str


def operations() -> Iterator[Operation]:
    """Yield them."""
    yield Operation("book_callback", "POST", "/queues/{key}/callbacks", "queue:update",
                    "Let somebody be called back, as if it had waited from now on", _book, "queues", status=201,
                    reply=CallbackView, body=CallbackBody, parameters={"key": Name}, idempotent=True)  # fmt: skip
    yield Operation("cancel_callback", "DELETE", "/board/callbacks/{call}", "queue:update",
                    "Take somebody off the board who is to be called back", _cancel, "queues", status=204,
                    parameters={"call": CallId})  # fmt: skip
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


async def _book(context: Context) -> Reply:
    queue, body, now = context.path["key"], context.body, context.services.clock().timestamp()
    await context.workspace.get(QUEUE, queue)
    made = f"booked-{uuid4().hex}"
    await act(
        context.workspace, ANY_NODE, lambda board: board.book(made, queue, body.number, now, priority=body.priority)
    )
    await context.workspace.note("callback", "queue", queue, None, {"number": body.number})
    return Reply(201, CallbackView(id=made, queue=queue, number=body.number))


async def _cancel(context: Context) -> Reply:
    caller, now = context.path["call"], context.services.clock().timestamp()
    found = (await read(context.workspace)).callers.get(caller)
    if found is None or found.number is None or found.agent is not None:
        raise NotFound(f"nobody is to be called back as {caller}: GET /api/v1/board shows who is")
    await act(context.workspace, ANY_NODE, lambda board: board.leave(caller, now))
    await context.workspace.note("cancel callback", "queue", found.queue, {"number": found.number}, None)
    return Reply(204)


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
