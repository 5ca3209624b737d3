# SPDX-License-Identifier: GPL-3.0-or-later
"""Many objects at once: what would change, field by field, and the change itself, all of it or nothing."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import psycopg
from pydantic import BaseModel

from provisioning.cells import safe_cell
from provisioning.errors import InvalidValue, NotFound
from provisioning.resources import OBJECTS, USER, Resource
from provisioning.store import Workspace, translated

PAGE = 500
TIMES = ("created_at", "updated_at")


@dataclass(frozen=True, slots=True)
class Difference:
    """What an import makes of one object. changes: (before, after) by field, without secrets."""

    kind: str
    key: str
    action: Literal["create", "update", "delete", "same"]
    changes: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)


async def export(work: Workspace, resource: Resource) -> list[dict[str, Any]]:
    """Return every object of a kind as an import takes it, but for secrets, which never leave."""
    found: list[dict[str, Any]] = []
    page = await work.page(resource, limit=PAGE)
    while page:
        found += [{name: value for name, value in each.values.items() if name not in TIMES} for each in page]
        page = await work.page(resource, after=page[-1].key, limit=PAGE)
    return found


async def apply(
    work: Workspace, objects: Mapping[Resource, Sequence[BaseModel]], *, remove: bool, dry_run: bool
) -> list[Difference]:
    """Bring objects of these kinds into this state and return what that changes.

    remove: what is of one of these kinds and not among them goes. dry_run: change nothing in the end. Raises as
    `Workspace.create` does, and then nothing has changed either.
    """
    async with work.connection.transaction() as attempt:
        await work.connection.execute("SET CONSTRAINTS ALL DEFERRED")
        found = await _apply(work, objects, remove)
        with translated(USER, "of the import"):
            await work.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        if dry_run:
            raise psycopg.Rollback(attempt)
    return found


async def _apply(work: Workspace, objects: Mapping[Resource, Sequence[BaseModel]], remove: bool) -> list[Difference]:
    differences = []
    for resource in OBJECTS:
        for body in objects.get(resource, ()):
            differences.append(await _bring(work, resource, body))
    if remove:
        for resource in reversed(OBJECTS):
            if resource in objects:
                kept = {getattr(body, resource.key) for body in objects[resource]}
                for each in await export(work, resource):
                    if each[resource.key] not in kept:
                        await work.delete(resource, each[resource.key])
                        differences.append(Difference(resource.name, each[resource.key], "delete"))
    return differences


async def _bring(work: Workspace, resource: Resource, body: BaseModel) -> Difference:
    key = str(getattr(body, resource.key))
    try:
        before = (await work.get(resource, key)).values
    except NotFound:
        await work.create(resource, body)
        return Difference(resource.name, key, "create")
    plain = body.model_dump(mode="json", exclude=set(resource.secrets))
    changes = {name: (before[name], value) for name, value in plain.items() if before[name] != value}
    secrets = {name: ("***", "***") for name in resource.secrets if getattr(body, name) is not None}
    if not changes and not secrets:
        return Difference(resource.name, key, "same")
    await work.replace(resource, key, body)
    return Difference(resource.name, key, "update", changes | secrets)


def to_csv(resource: Resource, objects: Iterable[Mapping[str, Any]]) -> str:
    """Return a table with one line for each object; lists are JSON in their cell, nothing is an empty cell."""
    names = [name for name in resource.model.model_fields if name not in resource.secrets]
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\r\n")
    writer.writerow(names)
    for each in objects:
        writer.writerow([_cell(each[name]) for name in names])
    return output.getvalue()


def from_csv(resource: Resource, text: str) -> list[BaseModel]:
    """Return the objects of a table; an empty cell leaves its field at its default. Raises InvalidValue."""
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise InvalidValue(f"this is no CSV ({error})") from None
    known = resource.model.model_fields
    objects = []
    for number, row in enumerate(rows, 2):
        for name, value in row.items():
            if name not in known or not isinstance(value, str):
                raise InvalidValue(f"line {number}: there are no fields but {', '.join(known)}, one in each column")
        values = {name: _value(resource, name, value) for name, value in row.items() if value}
        try:
            objects.append(resource.model.model_validate_json(json.dumps(values)))
        except ValueError as error:
            raise InvalidValue(f"line {number}: {_said(error)}") from None
    return objects


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return str(safe_cell(value)) if isinstance(value, str) else json.dumps(value)


def _value(resource: Resource, name: str, cell: str) -> Any:
    kind = resource.model.model_fields[name].annotation
    text = cell[1:] if cell[:1] == "'" else cell
    if kind in (bool, int) or resource.is_document(name) or _is_list(resource, name) or kind == (int | None):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _is_list(resource: Resource, name: str) -> bool:
    return any(child.field == name for child in resource.children)


def _said(error: ValueError) -> str:
    errors = getattr(error, "errors", None)
    if errors is None:
        return str(error)
    first = errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
