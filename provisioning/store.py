# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects of one tenant, read and changed in one transaction, each change with its audit entry.

Every transaction acts as the role voxdp_tenant with the tenant's id, so PostgreSQL itself keeps tenants apart.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb
from pydantic import BaseModel

from provisioning import audit, statements
from provisioning.credentials import ha1_columns
from provisioning.database import AsyncPool, Question, unavailable
from provisioning.errors import AlreadyExists, Changed, InUse, InvalidValue, NotFound, UnknownReference
from provisioning.passwords import hash_password
from provisioning.resources import ACCOUNT, USER, Child, Resource
from provisioning.vault import Vault

DEFAULT_TENANT = "default"
PLATFORM = "platform"
PAGE = 100
Connection = psycopg.AsyncConnection[DictRow]
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Scope:
    """For which tenant, in which realm of users, on whose behalf and from where. platform: not bound to a tenant."""

    tenant: int
    tenant_name: str
    realm: str
    actor: str
    address: str = ""
    platform: bool = False


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as it is in the database, without its secrets; the version counts its changes."""

    key: str
    values: Mapping[str, Any]
    version: int


class Store:
    """Opens transactions. realm: the domain of tenants that have none of their own."""

    def __init__(self, pool: AsyncPool, vault: Vault, realm: str) -> None:
        self.pool = pool
        self.vault = vault
        self.realm = realm.lower()

    async def scope(self, tenant: str, actor: str, address: str = "", *, platform: bool = False) -> Scope:
        """Return the scope of a tenant by its name. Raises NotFound, DatabaseUnavailable."""
        async with self._connection() as connection:
            cursor = await connection.execute("SELECT id, realm FROM tenants WHERE name = %s", [tenant])
            row = await cursor.fetchone()
        if row is None:
            raise NotFound(f"no tenant {tenant}: voxdp tenant list shows what there is")
        return Scope(row["id"], tenant, row["realm"] or self.realm, actor, address, platform)

    @asynccontextmanager
    async def open(self, scope: Scope, *, as_platform: bool = False) -> AsyncIterator[Workspace]:
        """Give one transaction for a tenant; as_platform: for tenants themselves, and only if the scope allows it.

        Raises DatabaseUnavailable, and what is raised inside, after which nothing has changed.
        """
        if as_platform and not scope.platform:
            raise PermissionError("only an account of the platform changes tenants")
        async with self._connection() as connection, connection.transaction():
            if not as_platform:
                await connection.execute(
                    "SELECT set_config('role', 'voxdp_tenant', true), set_config('voxdp.tenant', %s, true)",
                    [str(scope.tenant)],
                )
            yield Workspace(connection, scope, self.vault)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        try:
            async with self.pool.connection() as connection:
                yield connection
        except psycopg.OperationalError as error:
            raise unavailable(error) from error


class Workspace:
    """One transaction. Objects come and go as models of `provisioning.models`, or as dictionaries like them."""

    def __init__(self, connection: Connection, scope: Scope, vault: Vault) -> None:
        self.connection = connection
        self.scope = scope
        self._vault = vault

    async def page(self, resource: Resource, after: str = "", limit: int = PAGE) -> list[Stored]:
        """Return objects in the order of their keys, those behind `after`."""
        rows = await self._rows(statements.page(resource), self._parameters({"after": after, "limit": limit}))
        return [_stored(resource, row) for row in rows]

    async def get(self, resource: Resource, key: str, *, lock: bool = False) -> Stored:
        """Return one object. Raises NotFound."""
        with translated(resource, key):
            rows = await self._rows(statements.select(resource, lock=lock), self._parameters({"key": key}))
        if not rows:
            raise NotFound(f"no {resource.name} {key}: voxdp {resource.name} list shows what there is")
        return _stored(resource, rows[0])

    async def create(self, resource: Resource, body: BaseModel) -> Stored:
        """Add an object. Raises AlreadyExists, UnknownReference, InvalidValue."""
        key = str(getattr(body, resource.key))
        columns = await self._columns(resource, body, key)
        if resource is USER and "ha1_md5" not in columns:
            raise InvalidValue(f"user {key} needs a password: give one")
        with translated(resource, key):
            await self.connection.execute(statements.insert(resource, columns), self._parameters(columns))
            await self._write_children(resource, key, body)
        made = await self.get(resource, key)
        await self.note("create", resource.name, key, None, made.values)
        return made

    async def replace(self, resource: Resource, key: str, body: BaseModel, version: int | None = None) -> Stored:
        """Give an object these values; secrets that are None stay. Raises NotFound, Changed and as `create` does."""
        before = await self._locked(resource, key, version)
        if str(getattr(body, resource.key)) != key:
            raise InvalidValue(f"{resource.key} of {resource.name} {key} cannot change: make another one")
        columns = await self._columns(resource, body, key)
        columns.pop(resource.key)
        with translated(resource, key):
            await self.connection.execute(
                statements.update(resource, columns), self._parameters({"key": key, **columns})
            )
            for child in resource.children:
                await self.connection.execute(statements.clear_child(child), self._parameters({"key": key}))
            await self._write_children(resource, key, body)
        after = await self.get(resource, key)
        await self.note("update", resource.name, key, before.values, after.values)
        return after

    async def merge(
        self, resource: Resource, key: str, changes: Mapping[str, Any], version: int | None = None
    ) -> Stored:
        """Change some fields of an object, as RFC 7396 does at its top level. Raises as `replace`, and ValueError."""
        before = await self._locked(resource, key, version)
        known = {name: value for name, value in before.values.items() if name in resource.model.model_fields}
        body = resource.model.model_validate_json(json.dumps(known | dict(changes), default=str))
        return await self.replace(resource, key, body)

    async def delete(self, resource: Resource, key: str, version: int | None = None) -> Stored:
        """Remove an object and return what it was. Raises NotFound, Changed, InUse."""
        before = await self._locked(resource, key, version)
        with translated(resource, key):
            await self.connection.execute(statements.delete(resource), self._parameters({"key": key}))
        await self.note("delete", resource.name, key, before.values, None)
        return before

    async def ask(self, question: Question[Answer]) -> Answer:
        """Put any other question within this transaction."""
        return question.answer(await self._rows(question.sql, question.parameters))

    async def note(
        self, action: str, resource: str, key: str,
        before: Mapping[str, Any] | None = None, after: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Add an audit entry for something done in this transaction."""
        await audit.append(
            self.connection, self.scope.tenant, actor=self.scope.actor, address=self.scope.address,
            action=action, resource=resource, key=key, before=before, after=after,
        )  # fmt: skip

    async def _locked(self, resource: Resource, key: str, version: int | None) -> Stored:
        """Return the object, which nobody else changes from now on."""
        found = await self.get(resource, key, lock=True)
        if resource is ACCOUNT and found.values["role"] == PLATFORM:
            self._require_platform()
        if version is not None and found.version != version:
            raise Changed(f"{resource.name} {key} was changed by somebody else: read it again")
        return found

    def _require_platform(self) -> None:
        if not self.scope.platform:
            raise PermissionError("only an account of the platform makes or changes one")

    async def _write_children(self, resource: Resource, key: str, body: BaseModel) -> None:
        for child in resource.children:
            rows = list(self._child_rows(child, key, getattr(body, child.field)))
            if rows:
                async with self.connection.cursor() as cursor:
                    await cursor.executemany(statements.insert_child(child), rows)

    def _child_rows(self, child: Child, key: str, entries: Iterable[BaseModel]) -> Iterable[dict[str, Any]]:
        for position, entry in enumerate(entries):
            yield self._parameters({"parent": key, "position": position, **entry.model_dump()})

    async def _columns(self, resource: Resource, body: BaseModel, key: str) -> dict[str, Any]:
        """Return the values of the columns: documents as JSON, secrets sealed or hashed if there are any."""
        if resource is ACCOUNT and getattr(body, "role", None) == PLATFORM:
            self._require_platform()
        plain = body.model_dump(mode="json", include=set(resource.columns))
        columns = {name: Jsonb(value) if resource.is_document(name) else value for name, value in plain.items()}
        for name, column in resource.secrets.items():
            secret = getattr(body, name)
            if secret is None:
                continue
            text = secret.get_secret_value()
            if resource is ACCOUNT:
                columns["password_hash"] = await hash_password(text)
            elif column is None:
                columns |= ha1_columns(key, self.scope.realm, text, self._vault)
            else:
                columns[column.column] = self._vault.seal(text, column.owner(self.scope.tenant, key))
        return columns

    def _parameters(self, more: Mapping[str, Any]) -> dict[str, Any]:
        return {"tenant_id": self.scope.tenant, "realm": self.scope.realm} | dict(more)

    async def _rows(self, sql: Any, parameters: Mapping[str, Any]) -> list[DictRow]:
        try:
            cursor = await self.connection.execute(sql, parameters)
        except psycopg.DataError as error:
            raise InvalidValue(_first_line(error)) from error
        return await cursor.fetchall() if cursor.description else []


class translated:  # noqa: N801 - it reads as a sentence: with translated(...)
    """Turns what PostgreSQL refuses into our errors, which name the object."""

    def __init__(self, resource: Resource, key: str) -> None:
        self._what = f"{resource.name} {key}"
        self._table = resource.table

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, psycopg.errors.UniqueViolation):
            raise AlreadyExists(
                f"{self._what} exists already, or its {_constraint(error)} does: choose another"
            ) from error
        if isinstance(error, psycopg.errors.ForeignKeyViolation):
            other = _other_table(error)
            if "still referenced" in (error.diag.message_detail or ""):
                raise InUse(f"{self._what} is in use by {other}: change those first") from error
            raise UnknownReference(f"{self._what} refers to something in {other} that is not there") from error
        if isinstance(error, psycopg.errors.CheckViolation | psycopg.DataError):
            raise InvalidValue(f"{self._what}: {_first_line(error)}") from error


def _stored(resource: Resource, row: Mapping[str, Any]) -> Stored:
    values = {name: value for name, value in row.items() if name != "version"}
    return Stored(str(row[resource.key]), values, row["version"])


def _constraint(error: psycopg.Error) -> str:
    """Return the column that a name such as groups_tenant_id_extension_key means."""
    name = (error.diag.constraint_name or "").removesuffix("_key").removesuffix("_pkey")
    return name.rpartition("_")[2] or "key"


def _other_table(error: psycopg.Error) -> str:
    found = re.search(r'table "(\w+)"', error.diag.message_detail or "")
    return found.group(1).replace("_", " ") if found else "another table"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
