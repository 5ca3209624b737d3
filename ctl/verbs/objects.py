# SPDX-License-Identifier: GPL-3.0-or-later
"""What the command line does with objects of a tenant: `trunk.add` and the like, for every kind there is."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args, get_origin
from uuid import UUID, uuid4

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from ctl.exits import NOT_FOUND, USAGE
from ctl.storage import Storage
from ctl.verbs.control import ControlError, Verb
from provisioning import acd_store, audit, bulk, deliveries
from provisioning.deliveries import Event
from provisioning.errors import NotFound, ProvisioningError
from provisioning.rates import parse_rates, replace_rates
from provisioning.resources import ACCOUNT, DEVICE, OBJECTS, RESOURCES, SKILL, TENANT, USER, WEBHOOK, Resource
from provisioning.routing import Refusal, RouteTo, ToQueue, ToTrunk, ToUser
from provisioning.simulation import Simulation, simulate
from provisioning.store import DEFAULT_TENANT, PAGE, Scope, Stored, Workspace

KNOWN_SECONDS = 10.0  # at most, until signalling has heard of a change; it hears later while PostgreSQL is away
ACTOR = "command line"
UNROUTED = (ACCOUNT, DEVICE, SKILL, WEBHOOK)
"""Kinds that routing knows nothing of."""


class Objects:
    """Verbs for every kind of object. Their arguments come checked by nobody."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def table(self) -> dict[str, Verb]:
        """Return every verb."""
        verbs: dict[str, Verb] = {}
        for name, resource in RESOURCES.items():
            verbs |= {
                f"{name}.list": partial(self._list, resource),
                f"{name}.show": partial(self._show, resource),
                f"{name}.add": partial(self._add, resource),
                f"{name}.set": partial(self._set, resource),
                f"{name}.delete": partial(self._delete, resource),
            }
        return verbs | {
            "agent.state": self._agent_state,
            "audit.list": self._audit,
            "audit.verify": self._verify_audit,
            "queue.agents": self._agents,
            "queue.board": self._board,
            "queue.callback": self._callback,
            "rate_deck.import": self._import_rates,
            "route.simulate": self._simulate,
            "tenant.export": self._export,
            "tenant.import": self._import,
            "webhook.deliveries": self._deliveries,
            "webhook.test": self._test_webhook,
        }

    async def _agent_state(self, arguments: dict[str, Any]) -> None:
        name, state = key_of(arguments), arguments.get("state")
        if state not in ("off", "available", "paused"):
            raise ControlError("an agent is off, available or paused", USAGE)

        async def work(workspace: Workspace) -> None:
            await workspace.get(RESOURCES["agent"], name)
            await acd_store.act(workspace, acd_store.ANY_NODE, lambda board: board.set_agent(name, state, time.time()))
            await workspace.note(state, "agent", name)

        await self.within(arguments, work)

    async def _simulate(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Say where a call would go, and each step that leads there."""
        at = str(arguments.get("at") or "")
        try:
            now = datetime.fromisoformat(at).astimezone() if at else datetime.now(UTC)
        except ValueError:
            raise ControlError(f"{at!r} is no time such as 2026-12-25T10:00:00+01:00", USAGE) from None
        trunk = str(arguments.get("trunk") or "") or None
        caller, dialled = (str(arguments.get(name) or "") for name in ("caller", "dialled"))

        async def work(workspace: Workspace) -> Simulation:
            scope, snapshot = workspace.scope, self._storage.keeper.current
            return simulate(snapshot, scope.tenant, scope.realm, caller, dialled, now, trunk)

        found: Simulation = await self.within(arguments, work)
        outcome = found.decision.outcome
        if isinstance(outcome, Refusal):
            return {"refused": f"{outcome.status} {outcome.reason}", "targets": [], "steps": found.steps}
        return {"refused": None, "targets": list(map(_target, outcome)), "steps": found.steps}

    async def _import_rates(self, arguments: dict[str, Any]) -> int:
        text = _read(arguments)

        async def work(workspace: Workspace) -> int:
            rates = await asyncio.to_thread(lambda: list(parse_rates(csv.reader(io.StringIO(text, newline="")))))
            return await replace_rates(workspace, key_of(arguments), rates)

        return int(await self.within(arguments, work))

    async def _export(self, arguments: dict[str, Any]) -> dict[str, Any]:
        async def work(workspace: Workspace) -> dict[str, Any]:
            return {resource.name: await bulk.export(workspace, resource) for resource in OBJECTS}

        return dict(await self.within(arguments, work))

    async def _import(self, arguments: dict[str, Any]) -> list[dict[str, Any]]:
        text = _read(arguments)

        async def work(workspace: Workspace) -> list[bulk.Difference]:
            remove, dry_run = bool(arguments.get("remove")), bool(arguments.get("dry_run"))
            return await bulk.apply(workspace, _objects(text), remove=remove, dry_run=dry_run)

        found: list[bulk.Difference] = await self.within(arguments, work)
        return [asdict(difference) | {"changes": dict(difference.changes)} for difference in found]

    async def _board(self, arguments: dict[str, Any]) -> list[dict[str, Any]]:
        async def work(workspace: Workspace) -> list[dict[str, Any]]:
            board = await acd_store.read(workspace)
            now = time.time()
            board.tick(now)
            return [
                asdict(caller) | {"position": board.position(caller.id), "seconds": round(now - caller.joined)}
                for caller in board.callers.values()
            ]

        return list(await self.within(arguments, work))

    async def _agents(self, arguments: dict[str, Any]) -> list[dict[str, Any]]:
        async def work(workspace: Workspace) -> list[dict[str, Any]]:
            board, now = await acd_store.read(workspace), time.time()
            board.tick(now)
            talks = {caller.agent: caller for caller in board.callers.values() if caller.agent}
            return [
                {
                    "agent": agent.name,
                    "user": agent.user,
                    "state": agent.state,
                    "seconds": round(now - agent.since) if agent.since else None,
                    "caller": talks[agent.name].caller if agent.name in talks else None,
                    "queue": talks[agent.name].queue if agent.name in talks else None,
                }
                for agent in board.agents.values()
            ]

        return list(await self.within(arguments, work))

    async def _callback(self, arguments: dict[str, Any]) -> str:
        queue, number = key_of(arguments), str(arguments.get("number") or "")
        if not number:
            raise ControlError("number must not be empty", USAGE)

        async def work(workspace: Workspace) -> str:
            await workspace.get(RESOURCES["queue"], queue)
            made, now = f"booked-{uuid4().hex}", time.time()
            await acd_store.act(workspace, acd_store.ANY_NODE, lambda board: board.book(made, queue, number, now))
            await workspace.note("callback", "queue", queue, None, {"number": number})
            return made

        return str(await self.within(arguments, work))

    async def _deliveries(self, arguments: dict[str, Any]) -> list[dict[str, Any]]:
        count = max(1, min(1000, int(arguments.get("count", 50))))

        async def work(workspace: Workspace) -> list[dict[str, Any]]:
            found = await deliveries.listing(workspace, key_of(arguments), count)
            return [{name: _plain(value) for name, value in asdict(each).items()} for each in found]

        return list(await self.within(arguments, work))

    async def _test_webhook(self, arguments: dict[str, Any]) -> str:
        async def work(workspace: Workspace) -> str:
            name = key_of(arguments)
            event = Event(uuid4(), workspace.scope.tenant, "webhook.test", datetime.now(UTC), {"webhook": name})
            await deliveries.send_test(workspace, name, event, self._storage.store.realm)
            await workspace.note("test", "webhook", name)
            return str(event.id)

        return str(await self.within(arguments, work))

    async def _audit(self, arguments: dict[str, Any]) -> list[dict[str, Any]]:
        count = max(1, min(10_000, int(arguments.get("count", 50))))
        kind, key = str(arguments.get("resource") or "") or None, str(arguments.get("object") or "") or None

        async def work(workspace: Workspace) -> list[dict[str, Any]]:
            question = audit.listing(workspace.scope.tenant, resource=kind, key=key, limit=count)
            return [asdict(entry) | {"at": entry.at.isoformat()} for entry in await workspace.ask(question)]

        return list(await self.within(arguments, work))

    async def _verify_audit(self, arguments: dict[str, Any]) -> dict[str, Any]:
        async def work(workspace: Workspace) -> dict[str, Any]:
            return asdict(await audit.verify(workspace.connection, workspace.scope.tenant))

        return dict(await self.within(arguments, work))

    async def within(self, arguments: Mapping[str, Any], work: Callable[[Workspace], Awaitable[Any]],
                     *, platform: bool = False) -> Any:  # fmt: skip
        """Do `work` in one transaction for the tenant that is named, and turn errors into exit codes."""
        tenant = str(arguments.get("tenant") or DEFAULT_TENANT)
        try:
            await self._storage.ready()
            scope = await self._storage.store.scope(tenant, ACTOR, platform=True)
            async with self._storage.store.open(scope, as_platform=platform) as workspace:
                return await work(workspace)
        except NotFound as error:
            raise ControlError(str(error), NOT_FOUND) from None
        except ProvisioningError as error:
            raise ControlError(str(error)) from None
        except ValidationError as error:
            raise ControlError(first_problem(error), USAGE) from None

    async def _list(self, resource: Resource, arguments: dict[str, Any]) -> list[dict[str, Any]]:
        async def work(workspace: Workspace) -> list[dict[str, Any]]:
            found: list[Stored] = []
            page = await workspace.page(resource)
            while page:
                found += page
                page = await workspace.page(resource, after=page[-1].key) if len(page) == PAGE else []
            return [row(workspace.scope, resource, each) for each in found]

        return list(await self._within(resource, arguments, work))

    async def _show(self, resource: Resource, arguments: dict[str, Any]) -> dict[str, Any]:
        async def work(workspace: Workspace) -> dict[str, Any]:
            return row(workspace.scope, resource, await workspace.get(resource, key_of(arguments)))

        return dict(await self._within(resource, arguments, work))

    async def _add(self, resource: Resource, arguments: dict[str, Any]) -> dict[str, Any]:
        values = {resource.key: key_of(arguments)} | read_values(resource.model, arguments)

        async def work(workspace: Workspace) -> dict[str, Any]:
            body = resource.model.model_validate_json(json.dumps(values))
            return row(workspace.scope, resource, await workspace.create(resource, body))

        return await self._change(resource, arguments, work)

    async def _set(self, resource: Resource, arguments: dict[str, Any]) -> dict[str, Any]:
        values = read_values(resource.model, arguments)

        async def work(workspace: Workspace) -> dict[str, Any]:
            return row(workspace.scope, resource, await workspace.merge(resource, key_of(arguments), values))

        return await self._change(resource, arguments, work)

    async def _delete(self, resource: Resource, arguments: dict[str, Any]) -> dict[str, Any]:
        async def work(workspace: Workspace) -> dict[str, Any]:
            return row(workspace.scope, resource, await workspace.delete(resource, key_of(arguments)))

        return await self._change(resource, arguments, work)

    async def _within(
        self, resource: Resource, arguments: dict[str, Any], work: Callable[[Workspace], Awaitable[Any]]
    ) -> Any:
        return await self.within(arguments, work, platform=resource is TENANT)

    async def _change(
        self, resource: Resource, arguments: dict[str, Any], work: Callable[[Workspace], Awaitable[dict[str, Any]]]
    ) -> dict[str, Any]:
        """Change, and answer once signalling knows: the phone may register the next moment."""
        changed = dict(await self._within(resource, arguments, work))
        if resource not in UNROUTED:
            with suppress(TimeoutError):
                async with asyncio.timeout(KNOWN_SECONDS):
                    await asyncio.gather(self._storage.caught_up(), self._storage.on_change())
        return changed


def _plain(value: Any) -> Any:
    """Return a value as JSON can carry it."""
    return value.isoformat() if isinstance(value, datetime) else str(value) if isinstance(value, UUID) else value


def _read(arguments: Mapping[str, Any]) -> str:
    """Return the text of the file that is named. Raises ControlError."""
    path = Path(str(arguments.get("path") or ""))
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ControlError(f"{path} cannot be read by the controller ({error})") from None


def _objects(text: str) -> dict[Resource, list[BaseModel]]:
    """Return the objects of an export by their kind. Raises ControlError, ValidationError."""
    try:
        given = json.loads(text)
        kinds = {name: list(entries) for name, entries in given.items()}
    except (ValueError, TypeError, AttributeError):
        raise ControlError("the file is no export: it must be an object with a list for each kind", USAGE) from None
    known = {resource.name: resource for resource in OBJECTS}
    for name in kinds:
        if name not in known:
            raise ControlError(f"there is no kind {name}; there are {', '.join(known)}", USAGE)
    return {
        known[name]: [known[name].model.model_validate_json(json.dumps(entry)) for entry in entries]
        for name, entries in kinds.items()
    }


def _target(target: RouteTo) -> str:
    """Describe a target in a few words."""
    match target:
        case ToTrunk():
            shown = target.caller_number or "anonymous"
            text = f"trunk {target.trunk.name} as {target.number} from {shown}"
        case ToUser():
            text = f"user {target.username}" + (" at the same time" if target.together else "")
        case ToQueue():
            text = f"queue {target.name}"
    return text if target.after == "any" else f"{text} on {target.after.replace('_', ' ')}"


def row(scope: Scope, resource: Resource, stored: Stored) -> dict[str, Any]:
    """Return an object as JSON can carry it; of a user also its realm."""
    plain: dict[str, Any] = json.loads(json.dumps(stored.values, default=_text))
    return {"realm": scope.realm, **plain} if resource is USER else plain


def key_of(arguments: Mapping[str, Any]) -> str:
    """Return the name of the object that is meant. Raises ControlError."""
    key = arguments.get("key")
    if not isinstance(key, str) or not key:
        raise ControlError("the name must not be empty", USAGE)
    return key


def read_values(model: type[BaseModel], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `values`, each a text as it was typed or a JSON value. Raises ControlError."""
    values = arguments.get("values", {})
    if not isinstance(values, dict):
        raise ControlError("values must be an object", USAGE)
    known = model.model_fields
    for name in values:
        if name not in known:
            raise ControlError(f"no field {name}; there are {', '.join(known)}", USAGE)
    return {name: _typed(known[name], value) for name, value in values.items()}


def first_problem(error: ValidationError) -> str:
    """Describe the first thing that is wrong in one line."""
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'value'}: {first['msg'].removeprefix('Value error, ')}"


def _typed(field: FieldInfo, value: Any) -> Any:
    """Return what a typed text means for this field: the text itself where that fits, else JSON, else a list."""
    if not isinstance(value, str):
        return value
    if value == "" and type(None) in get_args(field.annotation):
        return None
    adapter: TypeAdapter[Any] = TypeAdapter(cast(Any, field.annotation))
    with suppress(ValidationError):
        adapter.validate_json(json.dumps(value), strict=True)
        return value
    with suppress(ValueError):
        return json.loads(value)
    if get_origin(field.annotation) is list:
        return [_entry(get_args(field.annotation)[0], part) for part in value.split(",") if part]
    return value


def _entry(kind: Any, text: str) -> Any:
    """Return one entry of a list; of objects, the one field that must be there."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {next(name for name, field in kind.model_fields.items() if field.is_required()): text}
    return int(text) if text.isdigit() and kind is not str and _is_number(kind) else text


def _is_number(kind: Any) -> bool:
    return bool(get_args(kind)) and get_args(kind)[0] is int


def _text(value: object) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
