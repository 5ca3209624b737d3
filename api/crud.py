# SPDX-License-Identifier: GPL-3.0-or-later
"""The six operations that every kind of object has."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo

from api.operation import Context, Handler, Operation, Reply
from provisioning.errors import InvalidValue
from provisioning.resources import RESOURCES, TENANT, Resource
from provisioning.store import Stored

LONGEST_PAGE = 500


class PageQuery(BaseModel):
    """Which part of a list: at most so many, behind the cursor that the part before named."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=LONGEST_PAGE)] = 100
    cursor: Annotated[str, Field(max_length=1024, pattern=r"^[A-Za-z0-9_-]*$")] = ""


def operations() -> Iterator[Operation]:
    """Yield the operations of every kind."""
    for resource in RESOURCES.values():
        yield from _operations(resource)


def page_of(item: type[BaseModel]) -> type[BaseModel]:
    """Return the model of one part of a list of these."""
    return create_model(
        f"{item.__name__}Page", items=(list[item], ...), next_cursor=(str | None, None),  # type: ignore[valid-type]  # made at run time
        __doc__="Part of a list; next_cursor is null behind the last one.",
    )  # fmt: skip


def cursor_of(key: str) -> str:
    """Return what names the place behind a key."""
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def key_of(cursor: str) -> str:
    """Return the key of a cursor. Raises InvalidValue."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        text = raw.decode()
    except (binascii.Error, UnicodeDecodeError):
        raise InvalidValue("the cursor is none that we gave") from None
    if "\0" in text:
        raise InvalidValue("the cursor is none that we gave")
    return text


def view_of(resource: Resource) -> type[BaseModel]:
    """Return the model of an object as it is shown: without secrets, with the times of its making and last change."""
    fields: dict[str, Any] = {
        name: (_annotation(info), ...)
        for name, info in resource.model.model_fields.items()
        if name not in resource.secrets
    }
    return create_model(
        f"{resource.model.__name__}View", **fields, created_at=(datetime, ...), updated_at=(datetime, ...),
        __doc__=resource.model.__doc__,
    )  # fmt: skip


def _patch_of(resource: Resource) -> type[BaseModel]:
    """Return the model of a change: every field may be left out."""
    fields: dict[str, Any] = {
        name: (_annotation(info), Field(default=None))
        for name, info in resource.model.model_fields.items()
        if name != resource.key
    }
    return create_model(
        f"{resource.model.__name__}Patch", __config__=ConfigDict(extra="forbid", strict=True), **fields,
        __doc__=f"Fields of {resource.model.__name__} to change.",
    )  # fmt: skip


def _annotation(info: FieldInfo) -> Any:
    annotation: Any = info.annotation
    for constraint in info.metadata:
        annotation = Annotated[annotation, constraint]
    return annotation


def _operations(resource: Resource) -> Iterator[Operation]:
    view, plural = view_of(resource), resource.plural
    one, noun = f"/{plural}/{{key}}", resource.name.replace("_", " ")
    parameters = {"key": _annotation(resource.model.model_fields[resource.key])}
    platform = resource is TENANT

    def make(verb: str, method: str, path: str, action: str, handler: Callable[..., Any], **more: Any) -> Operation:
        bound: Handler = lambda context: handler(resource, context)  # noqa: E731 - a name for its type
        return Operation(
            f"{verb}_{resource.name if verb != 'list' else plural.replace('-', '_')}", method, path,
            f"{resource.name}:{action}", f"{verb.capitalize()} {'the ' + plural if verb == 'list' else 'a ' + noun}",
            bound, plural, platform=platform, parameters=parameters if path == one else {}, **more,
        )  # fmt: skip

    yield make("list", "GET", f"/{plural}", "read", _list, reply=page_of(view), query=PageQuery,
               problems=frozenset({422}))  # fmt: skip
    yield make("create", "POST", f"/{plural}", "create", _create, status=201, reply=view, body=resource.model,
               etag=True, idempotent=True, problems=frozenset({409}))  # fmt: skip
    yield make("show", "GET", one, "read", _show, reply=view, etag=True)
    changing = {"etag": True, "conditional": True, "reply": view}
    yield make("replace", "PUT", one, "update", _replace, body=resource.model, problems=frozenset({409}), **changing)
    yield make(
        "change", "PATCH", one, "update", _change, body=_patch_of(resource), problems=frozenset({409}), **changing
    )
    yield make("delete", "DELETE", one, "delete", _delete, status=204, conditional=True, problems=frozenset({409}))


async def _list(resource: Resource, context: Context) -> Reply:
    query = cast(PageQuery, context.query)
    found = await context.workspace.page(resource, after=key_of(query.cursor), limit=query.limit + 1)
    shown, more = found[: query.limit], len(found) > query.limit
    return Reply(
        200, {"items": [each.values for each in shown], "next_cursor": cursor_of(shown[-1].key) if more else None}
    )


async def _create(resource: Resource, context: Context) -> Reply:
    stored = await context.workspace.create(resource, context.body)
    return _shown(stored, 201, {"Location": f"/api/v1/{resource.plural}/{stored.key}"})


async def _show(resource: Resource, context: Context) -> Reply:
    return _shown(await context.workspace.get(resource, context.path["key"]))


async def _replace(resource: Resource, context: Context) -> Reply:
    version = version_of(context.headers)
    return _shown(await context.workspace.replace(resource, context.path["key"], context.body, version))


async def _change(resource: Resource, context: Context) -> Reply:
    changes = context.body.model_dump(mode="json", exclude_unset=True)
    for name in resource.secrets:
        if (secret := getattr(context.body, name)) is not None:
            changes[name] = secret.get_secret_value()
    version = version_of(context.headers)
    return _shown(await context.workspace.merge(resource, context.path["key"], changes, version))


async def _delete(resource: Resource, context: Context) -> Reply:
    await context.workspace.delete(resource, context.path["key"], version_of(context.headers))
    return Reply(204)


def version_of(headers: Mapping[str, str]) -> int | None:
    """Return the version that If-Match asks for, None for any. Raises InvalidValue for what is no ETag of ours."""
    wanted = headers.get("If-Match")
    if wanted is None or wanted.strip() == "*":
        return None
    found = re.fullmatch(r'"([0-9]{1,18})"', wanted.strip())
    if found is None:
        raise InvalidValue("If-Match must be the ETag that was read, or *")
    return int(found.group(1))


def _shown(stored: Stored, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, stored.values, {"ETag": f'"{stored.version}"', **(headers or {})})
