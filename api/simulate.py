# SPDX-License-Identifier: GPL-3.0-or-later
"""What would this caller, dialling this number, get now or at another time, and why?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, Field

from api.operation import Context, Operation, Reply
from provisioning.models import Body, Dialled, Name, Username
from provisioning.routing import Refusal, RouteTo, ToQueue, ToTrunk, ToUser
from provisioning.simulation import simulate


class Question(Body):
    """Who calls whom, and when. trunk: the call comes by it, and `caller` is a number."""

    caller: Username
    dialled: Dialled
    at: Annotated[AwareDatetime, Field(strict=False)] | None = None
    trunk: Name | None = None


class TargetView(BaseModel):
    """One target, in the order in which they are tried."""

    kind: Literal["user", "trunk", "queue"]
    name: str
    number: str | None = None
    caller_number: str | None = None
    price_micros: int | None = None
    after: str
    together: bool = False


class RefusalView(BaseModel):
    """The SIP answer to the caller."""

    status: int
    reason: str


class SimulationView(BaseModel):
    """The targets or the refusal, and every step that led to it."""

    emergency: bool
    targets: list[TargetView]
    refusal: RefusalView | None
    steps: list[str]


def operations() -> Iterator[Operation]:
    """Yield it."""
    yield Operation("simulate_route", "POST", "/simulate", "simulation:read", "Say where a call would go, and why",
                    _simulate, "routing", reply=SimulationView, body=Question)  # fmt: skip


async def _simulate(context: Context) -> Reply:
    question: Question = context.body
    scope = context.workspace.scope
    now = question.at or context.services.clock()
    found = simulate(
        context.services.snapshot(), scope.tenant, scope.realm, question.caller, question.dialled, now, question.trunk
    )
    outcome = found.decision.outcome
    refused = RefusalView(status=outcome.status, reason=outcome.reason) if isinstance(outcome, Refusal) else None
    targets = [] if isinstance(outcome, Refusal) else [_view(target) for target in outcome]
    emergency = found.decision.emergency
    return Reply(200, SimulationView(emergency=emergency, targets=targets, refusal=refused, steps=found.steps))


def _view(target: RouteTo) -> TargetView:
    match target:
        case ToUser():
            return TargetView(kind="user", name=target.username, after=target.after, together=target.together)
        case ToTrunk():
            return TargetView(
                kind="trunk", name=target.trunk.name, number=target.number, caller_number=target.caller_number,
                price_micros=target.price_micros, after=target.after,
            )  # fmt: skip
        case ToQueue():
            return TargetView(kind="queue", name=target.name, after=target.after)
