# SPDX-License-Identifier: GPL-3.0-or-later
"""The OpenAPI 3.1 document, made from the operations themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter

from api.operation import NoQuery, Operation
from api.problem import CONTENT_TYPE
from api.roles import ROLES, allows

REF = "#/components/schemas/{model}"
Mode = Literal["validation", "serialization"]


class Problem(BaseModel, extra="allow"):
    """What went wrong (RFC 9457). errors: where, and what, for a body or query that is not valid."""

    type: str
    title: str
    status: int
    detail: str


REASONS = {
    400: "Not understood",
    401: "Not logged in, or not any more",
    403: "The role lacks the permission",
    404: "There is no such thing",
    409: "It does not fit what is there",
    412: "Somebody else changed it",
    413: "Too large",
    415: "Not the media type that is wanted",
    422: "Not valid",
    429: "Too many requests",
    503: "PostgreSQL is away",
}


def document(operations: Iterable[Operation], version: str) -> dict[str, Any]:
    """Return the document."""
    operations = list(operations)
    schemas, components = _schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "voxdp", "version": version,
            "license": {"name": "GPL-3.0-or-later", "identifier": "GPL-3.0-or-later"},
            "description": "Tenants, users, numbers, trunks, routes; calls, flows, records. See docs/api.md.",
        },
        "servers": [{"url": "/api/v1"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in operations)],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer",
                                           "description": "An access token, or an API key"}},
        },
        "x-roles": {role: sorted({each.permission for each in operations if each.permission and
                                  allows(role, each.permission)}) for role in ROLES},
    }  # fmt: skip


def statuses(operation: Operation) -> list[int]:
    """Return the statuses of all problems that an operation may answer."""
    found = {429, 503} | operation.problems
    if operation.permission is not None:
        found |= {401, 403, 404}
    if operation.body is not None:
        found |= {400, 413, 415, 422}
    if operation.query is not NoQuery or operation.idempotent:
        found.add(400)
    if operation.idempotent:
        found.add(422)
    if operation.conditional:
        found |= {412, 422}
    return sorted(found | {400})


def _schemas(operations: list[Operation]) -> tuple[dict[tuple[str, str], Any], dict[str, Any]]:
    wanted: list[tuple[tuple[str, str], Mode, TypeAdapter[Any]]] = [
        (("problem", "reply"), "serialization", TypeAdapter(Problem))
    ]
    for operation in operations:
        if operation.body not in (None, bytes):
            wanted.append(((operation.name, "body"), "validation", TypeAdapter(operation.body)))
        if operation.reply not in (None, str):
            wanted.append(((operation.name, "reply"), "serialization", TypeAdapter(operation.reply)))
        for name, kind in operation.parameters.items():
            wanted.append(((operation.name, name), "validation", TypeAdapter(kind)))
    schemas, definitions = TypeAdapter.json_schemas(wanted, ref_template=REF)
    return {key: schema for (key, _), schema in schemas.items()}, definitions.get("$defs", {})


def _operation(operation: Operation, schemas: dict[tuple[str, str], Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": _parameters(operation, schemas),
        "responses": _responses(operation, schemas),
    }
    if operation.body is not None:
        schema = {"type": "string"} if operation.body is bytes else schemas[operation.name, "body"]
        described["requestBody"] = {"required": True, "content": {operation.accepts: {"schema": schema}}}
    if operation.permission is None:
        described["security"] = []
    else:
        described["security"] = [{"bearer": []}]
        described["x-permission"] = operation.permission
    return described


def _parameters(operation: Operation, schemas: dict[tuple[str, str], Any]) -> list[dict[str, Any]]:
    found = [
        {"name": name, "in": "path", "required": True, "schema": schemas[operation.name, name]}
        for name in operation.parameters
    ]
    query = operation.query.model_json_schema(ref_template=REF)
    for name, schema in query.get("properties", {}).items():
        found.append({"name": name, "in": "query", "required": False, "schema": _without_null(schema)})
    if operation.permission is not None and operation.transaction:
        found.append(_header("Voxdp-Tenant", "Another tenant, for accounts of the platform", {"type": "string",
                             "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"}))  # fmt: skip
    if operation.idempotent:
        found.append(_header("Idempotency-Key", "The same request again gets the same answer for a day",
                             {"type": "string", "pattern": "^[!-~]{1,128}$"}))  # fmt: skip
    if operation.conditional:
        found.append(_header("If-Match", "The ETag that was read: do nothing if it is another now",
                             {"type": "string", "pattern": '^(\\*|"[0-9]{1,18}")$'}))  # fmt: skip
    return found


def _header(name: str, text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": text, "schema": schema}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query parameter is there or not; it is never null."""
    rest = {name: value for name, value in schema.items() if name not in ("anyOf", "default", "title")}
    some = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
    return rest | (some[0] if some else {}) | ({"default": schema["default"]} if schema.get("default") else {})


def _responses(operation: Operation, schemas: dict[tuple[str, str], Any]) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "Done"}
    if operation.reply is not None:
        schema = {"type": "string"} if operation.reply is str else schemas[operation.name, "reply"]
        success["content"] = {operation.gives: {"schema": schema}}
    if operation.etag:
        success["headers"] = {"ETag": {"required": True, "schema": {"type": "string"}}}
    failure = {CONTENT_TYPE: {"schema": schemas["problem", "reply"]}}
    found = {str(operation.status): success}
    for status in statuses(operation):
        found[str(status)] = {"description": REASONS[status], "content": failure}
    return found
