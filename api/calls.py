# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls, flows and registrations of this moment."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from api.live import (
    CallControl,
    CallId,
    LiveCall,
    LiveFlow,
    LiveRefused,
    MediaChanged,
    MediaControl,
    Registration,
    Statistics,
)
from api.operation import Context, Operation, Reply


class CallList(BaseModel):
    """All calls."""

    items: list[LiveCall]


class FlowList(BaseModel):
    """All flows."""

    items: list[LiveFlow]


class RegistrationList(BaseModel):
    """All contacts."""

    items: list[Registration]


def operations() -> Iterator[Operation]:
    """Yield them."""
    call = {"call": CallId}
    yield Operation("list_calls", "GET", "/calls", "call:read", "List the calls", _calls, "calls", reply=CallList)
    yield Operation("show_call", "GET", "/calls/{call}", "call:read", "Show a call with its legs and flows", _call,
                    "calls", reply=LiveCall, parameters=call)  # fmt: skip
    yield Operation("control_call", "POST", "/calls/{call}/control", "call:control",
                    "Hang up, transfer, hold, resume or record a call", _control, "calls", reply=LiveCall,
                    body=CallControl, parameters=call, idempotent=True, problems=frozenset({409}))  # fmt: skip
    yield Operation("control_call_media", "POST", "/calls/{call}/media", "call:control",
                    "Play to a leg of a call, send it digits, or keep from the other what it says", _media, "calls",
                    reply=MediaChanged, body=MediaControl, parameters=call, idempotent=True,
                    problems=frozenset({409}))  # fmt: skip
    yield Operation("list_flows", "GET", "/flows", "flow:read", "List the media flows", _flows, "calls", reply=FlowList)
    yield Operation("list_registrations", "GET", "/registrations", "registration:read", "List registered contacts",
                    _registrations, "calls", reply=RegistrationList)  # fmt: skip
    yield Operation("show_statistics", "GET", "/statistics", "statistics:read", "Sums of this moment", _statistics,
                    "calls", reply=Statistics)  # fmt: skip


async def _calls(context: Context) -> Reply:
    return Reply(200, {"items": list(await context.services.live.calls(_tenant(context)))})


async def _call(context: Context) -> Reply:
    return Reply(200, await context.services.live.call(_tenant(context), context.path["call"]))


async def _control(context: Context) -> Reply:
    control: CallControl = context.body
    if control.action == "transfer" and control.target is None:
        raise LiveRefused("a transfer needs a target")
    call = context.path["call"]
    changed = await context.services.live.control(_tenant(context), call, control)
    after = control.model_dump(exclude_defaults=True, exclude={"action"})
    await context.workspace.note(control.action, "call", call, None, after)
    return Reply(200, changed)


async def _media(context: Context) -> Reply:
    control: MediaControl = context.body
    call = context.path["call"]
    changed = await context.services.live.media(_tenant(context), call, control)
    after = {"leg": control.leg, "sounds": control.sounds, "what": control.what}  # digits may be a PIN
    await context.workspace.note(control.action, "call", call, None, after)
    return Reply(200, changed)


async def _flows(context: Context) -> Reply:
    return Reply(200, {"items": list(await context.services.live.flows(_tenant(context)))})


async def _registrations(context: Context) -> Reply:
    return Reply(200, {"items": list(await context.services.live.registrations(_tenant(context)))})


async def _statistics(context: Context) -> Reply:
    return Reply(200, await context.services.live.statistics(_tenant(context)))


def _tenant(context: Context) -> int:
    return context.workspace.scope.tenant
