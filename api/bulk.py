# SPDX-License-Identifier: GPL-3.0-or-later
"""Import and export of objects, and of the prices of a rate deck."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from api.operation import Context, Operation, Reply
from provisioning import bulk
from provisioning.bulk import Difference
from provisioning.errors import InvalidValue
from provisioning.models import Name
from provisioning.rates import parse_rates, replace_rates
from provisioning.resources import OBJECTS, RESOURCES

RATES_BYTES = 64 << 20
IMPORT_BYTES = 16 << 20
if TYPE_CHECKING:
    Kind = str
else:
    Kind = Literal[tuple(resource.name for resource in OBJECTS)]


class ImportQuery(BaseModel):
    """dry_run: say what would change, and change nothing. remove: what is not among the objects goes."""

    model_config = ConfigDict(extra="forbid")

    dry_run: bool = False
    remove: bool = False


class DifferenceView(BaseModel):
    """What becomes of one object; of each changed field what was and what will be."""

    kind: Kind
    key: str
    action: Literal["create", "update", "delete", "same"]
    changes: dict[str, list[Any]] = {}


class ImportResult(BaseModel):
    """What an import changed, or would."""

    dry_run: bool
    differences: list[DifferenceView]


class RatesResult(BaseModel):
    """How many prices a deck has now."""

    rates: int


def _list_of(model: Any) -> Any:
    return Annotated[list[model], Field(max_length=10_000)]


_lists: dict[str, Any] = {resource.name: (_list_of(resource.model), []) for resource in OBJECTS}
Import = create_model(
    "Import", __config__=ConfigDict(extra="forbid"), **_lists, __doc__="Objects by their kind; a kind left out stays."
)
Export = create_model("Export", __config__=ConfigDict(extra="allow"), __doc__="Objects by their kind, without secrets.")


def operations() -> Iterator[Operation]:
    """Yield them."""
    kind = {"kind": Kind}
    yield Operation("export_all", "GET", "/export", "bulk:export", "Export all objects", _export, "bulk", reply=Export)
    yield Operation("import_all", "POST", "/import", "bulk:import", "Import objects, or say what that would change",
                    _import, "bulk", reply=ImportResult, body=Import, query=ImportQuery, idempotent=True,
                    problems=frozenset({409}), limit=IMPORT_BYTES)  # fmt: skip
    yield Operation("export_csv", "GET", "/export/{kind}", "bulk:export", "Export the objects of a kind as CSV",
                    _export_csv, "bulk", reply=str, gives="text/csv", parameters=kind)  # fmt: skip
    yield Operation("import_csv", "POST", "/import/{kind}", "bulk:import", "Import objects of a kind from CSV",
                    _import_csv, "bulk", reply=ImportResult, body=bytes, accepts="text/csv", query=ImportQuery,
                    idempotent=True, parameters=kind, problems=frozenset({409}), limit=IMPORT_BYTES)  # fmt: skip
    yield Operation("replace_rates", "PUT", "/rate-decks/{key}/rates", "rate_deck:update",
                    "Give a rate deck these prices and no others: lines of PREFIX,PRICE", _rates, "rate-decks",
                    reply=RatesResult, body=bytes, accepts="text/csv", parameters={"key": Name},
                    limit=RATES_BYTES)  # fmt: skip


async def _export(context: Context) -> Reply:
    return Reply(200, {resource.name: await bulk.export(context.workspace, resource) for resource in OBJECTS})


async def _export_csv(context: Context) -> Reply:
    resource = RESOURCES[context.path["kind"]]
    objects = await bulk.export(context.workspace, resource)
    disposition = f'attachment; filename="{resource.plural}.csv"'
    return Reply(200, bulk.to_csv(resource, objects), {"Content-Disposition": disposition})


async def _import(context: Context) -> Reply:
    given = {
        resource: getattr(context.body, resource.name)
        for resource in OBJECTS
        if resource.name in context.body.model_fields_set
    }
    query: ImportQuery = context.query
    return _result(await bulk.apply(context.workspace, given, remove=query.remove, dry_run=query.dry_run), query)


async def _import_csv(context: Context) -> Reply:
    resource = RESOURCES[context.path["kind"]]
    query: ImportQuery = context.query
    objects = {resource: bulk.from_csv(resource, _text(context.body))}
    return _result(await bulk.apply(context.workspace, objects, remove=query.remove, dry_run=query.dry_run), query)


def _result(found: list[Difference], query: ImportQuery) -> Reply:
    differences = [
        DifferenceView.model_validate(
            {"kind": each.kind, "key": each.key, "action": each.action,
             "changes": {name: list(pair) for name, pair in each.changes.items()}}
        )
        for each in found
    ]  # fmt: skip
    return Reply(200, ImportResult(dry_run=query.dry_run, differences=differences))


async def _rates(context: Context) -> Reply:
    text = _text(context.body)

    def parse() -> list[tuple[str, int]]:
        return list(parse_rates(csv.reader(io.StringIO(text, newline=""), strict=True)))

    try:
        rates = await asyncio.to_thread(parse)  # a million lines take seconds
    except csv.Error as error:
        raise InvalidValue(f"this is no CSV ({error})") from None
    return Reply(200, RatesResult(rates=await replace_rates(context.workspace, context.path["key"], rates)))


def _text(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidValue("the table must be UTF-8") from None
    if "\0" in text:
        raise InvalidValue("the table holds a zero byte")
    return text
