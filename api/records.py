# SPDX-License-Identifier: GPL-3.0-or-later
"""What is over: call records, and the audit."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict, fields
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from api.crud import LONGEST_PAGE, cursor_of, key_of
from api.operation import Context, Operation, Reply
from provisioning import audit, cdr_search
from provisioning.cdr import Cdr
from provisioning.cdr_legs import CdrLeg, legs_of
from provisioning.cdr_search import CdrFilter, Place
from provisioning.cells import safe_cell
from provisioning.errors import InvalidValue

LONGEST_EXPORT = 50_000
Party = Annotated[str, Field(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]


class CdrFilterQuery(BaseModel):
    """Which records: of a party, either of them, from a moment on and before another, answered or not, of a Call-ID."""

    model_config = ConfigDict(extra="forbid")

    party: Party | None = None
    caller: Party | None = None
    dialled: Party | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    answered: bool | None = None
    call_id: Party | None = None


class CdrQuery(CdrFilterQuery):
    """At most so many of them, behind the cursor that the part before named."""

    limit: Annotated[int, Field(ge=1, le=LONGEST_PAGE)] = 100
    cursor: Annotated[str, Field(max_length=1024, pattern=r"^[A-Za-z0-9_-]*$")] = ""


class CdrView(BaseModel):
    """A call that is over, with the media of each of its directions."""

    model_config = ConfigDict(extra="allow")

    id: UUID
    call: str
    caller: str
    dialled: str
    started: datetime
    answered: datetime | None
    ended: datetime
    status: int
    cause: int
    ended_by: str
    media: list[dict[str, Any]]


class CdrPage(BaseModel):
    """Part of a list, newest first; next_cursor is null behind the last one."""

    items: list[CdrView]
    next_cursor: str | None


class AuditQuery(BaseModel):
    """Which entries: of a kind of object, of one object, older than a sequence number."""

    model_config = ConfigDict(extra="forbid")

    resource: Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")] | None = None
    key: Party | None = None
    before: Annotated[int, Field(ge=1, le=2**62)] | None = None
    limit: Annotated[int, Field(ge=1, le=LONGEST_PAGE)] = 100


class AuditEntry(BaseModel):
    """One change: who, when, from where, what, and the object before and after."""

    sequence: int
    at: datetime
    actor: str
    address: str
    action: str
    resource: str
    key: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class AuditList(BaseModel):
    """Entries, newest first."""

    items: list[AuditEntry]


class AuditVerdict(BaseModel):
    """Whether the chain holds. broken: the first entry that does not follow from the one before it."""

    entries: int
    broken: int | None


def operations() -> Iterator[Operation]:
    """Yield them."""
    yield Operation("list_cdrs", "GET", "/cdrs", "cdr:read", "Search call records", _cdrs, "records",
                    reply=CdrPage, query=CdrQuery, problems=frozenset({422}))  # fmt: skip
    yield Operation("export_cdrs", "GET", "/cdrs/export", "cdr:read",
                    "Call records as CSV, a line for each leg, at most 50,000 calls", _export, "records", reply=str,
                    gives="text/csv", query=CdrFilterQuery)  # fmt: skip
    yield Operation("show_cdr", "GET", "/cdrs/{id}", "cdr:read", "Show a call record", _cdr, "records",
                    reply=CdrView, parameters={"id": UUID})  # fmt: skip
    yield Operation("list_audit", "GET", "/audit", "audit:read", "Who changed what", _audit, "records",
                    reply=AuditList, query=AuditQuery)  # fmt: skip
    yield Operation("verify_audit", "GET", "/audit/verify", "audit:read", "Look along the chain of the audit", _verify,
                    "records", reply=AuditVerdict)  # fmt: skip


async def _cdrs(context: Context) -> Reply:
    query: CdrQuery = context.query
    after = _place(query.cursor) if query.cursor else None
    found = await context.workspace.ask(cdr_search.search(_filter(query), after=after, limit=query.limit + 1))
    shown, more = found[: query.limit], len(found) > query.limit
    cursor = cursor_of(f"{shown[-1].started.isoformat()} {shown[-1].id}") if more else None
    return Reply(200, {"items": [_view(cdr) for cdr in shown], "next_cursor": cursor})


async def _export(context: Context) -> Reply:
    names = [field.name for field in fields(CdrLeg)]
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\r\n")
    writer.writerow(names)
    after: Place | None = None
    for _ in range(LONGEST_EXPORT // LONGEST_PAGE):
        question = cdr_search.search(_filter(context.query), after=after, limit=LONGEST_PAGE)
        page = await context.workspace.ask(question)
        writer.writerows(_line(leg, names) for cdr in page for leg in legs_of(cdr))
        if len(page) < LONGEST_PAGE:
            break
        after = page[-1].started, page[-1].id
    return Reply(200, output.getvalue(), {"Content-Disposition": 'attachment; filename="cdrs.csv"'})


async def _cdr(context: Context) -> Reply:
    return Reply(200, _view(await context.workspace.ask(cdr_search.get(context.path["id"]))))


async def _audit(context: Context) -> Reply:
    query: AuditQuery = context.query
    work = context.workspace
    question = audit.listing(
        work.scope.tenant, resource=query.resource, key=query.key, before=query.before, limit=query.limit
    )
    return Reply(200, {"items": [asdict(entry) for entry in await work.ask(question)]})


async def _verify(context: Context) -> Reply:
    work = context.workspace
    verdict = await audit.verify(work.connection, work.scope.tenant)
    return Reply(200, AuditVerdict(entries=verdict.entries, broken=verdict.broken))


def _filter(query: CdrFilterQuery) -> CdrFilter:
    names = [each.name for each in fields(CdrFilter) if each.name in type(query).model_fields]
    return CdrFilter(**{name: getattr(query, name) for name in names})


def _place(cursor: str) -> Place:
    moment, _, identifier = key_of(cursor).partition(" ")
    try:
        return TypeAdapter(AwareDatetime).validate_python(moment), UUID(identifier)
    except (ValidationError, ValueError):
        raise InvalidValue("the cursor is none that we gave") from None


def _view(cdr: Cdr) -> dict[str, Any]:
    view = asdict(cdr)
    view.pop("tenant")
    return view


def _line(leg: CdrLeg, names: list[str]) -> list[object]:
    cells = [getattr(leg, name) for name in names]
    return [cell.isoformat() if isinstance(cell, datetime) else safe_cell(cell) for cell in cells]
