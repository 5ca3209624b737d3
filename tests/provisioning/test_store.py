# SPDX-License-Identifier: GPL-3.0-or-later
"""Every kind of object: made, read, changed, deleted, audited, and invisible to another tenant."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
import pytest_asyncio

from provisioning import audit
from provisioning.database import connect
from provisioning.errors import AlreadyExists, Changed, InUse, InvalidValue, NotFound, UnknownReference
from provisioning.models import Tenant
from provisioning.resources import NUMBER, OBJECTS, QUEUE, RESOURCES, ROUTE, TENANT, TRUNK, USER, Resource
from provisioning.store import Scope, Store
from tests.provisioning.examples import EXAMPLES


def body(resource: Resource, values: dict[str, Any]) -> Any:
    return resource.model.model_validate(values, strict=False)


@pytest_asyncio.fixture
async def other(store: Store) -> Scope:
    platform = await store.scope("default", "test", platform=True)
    async with store.open(platform, as_platform=True) as work:
        await work.create(TENANT, Tenant(name="other", realm="other.example"))
    return await store.scope("other", "test")


async def fill(store: Store, scope: Scope) -> None:
    async with store.open(scope) as work:
        for resource in OBJECTS:
            await work.create(resource, body(resource, EXAMPLES[resource.name][0]))


def test_every_kind_has_an_example() -> None:
    assert {resource.name for resource in OBJECTS} == EXAMPLES.keys()
    assert RESOURCES.keys() - EXAMPLES.keys() == {"tenant", "account"}


async def test_the_life_of_every_object(store: Store, scope: Scope) -> None:
    await fill(store, scope)
    async with store.open(scope) as work:
        for resource in OBJECTS:
            made, change = EXAMPLES[resource.name]
            key = made[resource.key]
            stored = await work.get(resource, key)
            shown = {name: value for name, value in made.items() if name not in resource.secrets}
            whole = body(resource, made).model_dump(mode="json")
            assert {name: stored.values[name] for name in shown} == {name: whole[name] for name in shown}
            assert not set(resource.secrets) & stored.values.keys()
            changed = await work.merge(resource, key, change, stored.version)
            assert changed.version == stored.version + 1
            assert changed.values["updated_at"] >= stored.values["updated_at"]
            with pytest.raises(Changed, match="read it again"):
                await work.merge(resource, key, change, stored.version)
            assert [each.key for each in await work.page(resource)] == [key]
            assert await work.page(resource, after=key) == []
    async with store.open(scope) as work:
        for resource in reversed(OBJECTS):
            key = EXAMPLES[resource.name][0][resource.key]
            if resource is USER:
                await work.merge(USER, key, {"dial_plan": None})
            await work.delete(resource, key)
            with pytest.raises(NotFound, match=f"no {resource.name} .*: voxdp"):
                await work.get(resource, key)


async def test_every_change_is_in_the_audit_and_the_chain_holds(store: Store, scope: Scope, conninfo: str) -> None:
    await fill(store, scope)
    async with store.open(scope) as work:
        await work.merge(TRUNK, "paris", {"password": "canary-7", "channel_limit": 3})
        await work.delete(ROUTE, "france")
        entries = await work.ask(audit.listing(scope.tenant))
        assert [(entry.action, entry.resource, entry.key) for entry in entries[:2]] == [
            ("delete", "route", "france"),
            ("update", "trunk", "paris"),
        ]
        assert entries[1].before
        assert entries[1].after
        assert (entries[1].before["channel_limit"], entries[1].after["channel_limit"]) == (None, 3)
        assert len(entries) == len(OBJECTS) + 2
        assert not [entry for entry in entries if "canary-7" in str(entry) or "secret" in str(entry.after)]
        assert await audit.verify(work.connection, scope.tenant) == audit.Verdict(len(entries), None)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await work.connection.execute("UPDATE audit SET actor = 'nobody'")
    for damage in ("UPDATE audit SET actor = 'x' WHERE sequence = 5", "DELETE FROM audit WHERE sequence = 5"):
        with connect(conninfo) as connection:
            connection.execute(damage)
        async with store.open(scope) as work:
            assert (await audit.verify(work.connection, scope.tenant)).broken in (5, 6)


async def test_a_failed_transaction_leaves_neither_change_nor_entry(store: Store, scope: Scope) -> None:
    async def two() -> None:
        async with store.open(scope) as work:
            await work.create(TRUNK, body(TRUNK, {"name": "a", "host": "h"}))
            await work.create(TRUNK, body(TRUNK, {"name": "b", "host": "h", "rate_deck": "none"}))

    with pytest.raises(UnknownReference, match="rate decks that is not there"):
        await two()
    async with store.open(scope) as work:
        assert await work.page(TRUNK) == []
        assert await work.ask(audit.listing(scope.tenant)) == []


async def test_what_is_in_use_taken_or_not_there_is_named(store: Store, scope: Scope) -> None:
    await fill(store, scope)
    for resource, key, said in ((TRUNK, "paris", "routes|route trunks"), (QUEUE, "support", "numbers")):
        with pytest.raises(InUse, match=f"in use by ({said}): change those first"):
            async with store.open(scope) as work:
                await work.delete(resource, key)
    for resource in OBJECTS:
        with pytest.raises(AlreadyExists, match="exists already"):
            async with store.open(scope) as work:
                await work.create(resource, body(resource, EXAMPLES[resource.name][0]))
    with pytest.raises(InvalidValue, match="cannot change"):
        async with store.open(scope) as work:
            await work.replace(TRUNK, "paris", body(TRUNK, {"name": "lyon", "host": "h"}))
    with pytest.raises(InvalidValue, match="needs a password"):
        async with store.open(scope) as work:
            await work.create(USER, body(USER, {"username": "bert"}))
    with pytest.raises(NotFound, match="no tenant none"):
        await store.scope("none", "test")


async def test_a_tenant_sees_and_changes_nothing_of_another(store: Store, scope: Scope, other: Scope) -> None:
    await fill(store, scope)
    async with store.open(other) as work:
        for resource in OBJECTS:
            key = EXAMPLES[resource.name][0][resource.key]
            assert await work.page(resource) == []
            with pytest.raises(NotFound):
                await work.get(resource, key)
            with pytest.raises(NotFound):
                await work.delete(resource, key)
    with pytest.raises(AlreadyExists):
        async with store.open(other) as work:
            await work.create(NUMBER, body(NUMBER, {"number": "+33123456789"}))
    with pytest.raises(UnknownReference):
        async with store.open(other) as work:
            await work.create(NUMBER, body(NUMBER, {"number": "+33123456780", "queue": "support"}))


async def test_row_level_security_holds_where_a_statement_forgets_the_tenant(
    store: Store, scope: Scope, other: Scope
) -> None:
    """Bare SQL of every table, as the role that all requests have: nothing of another tenant, nothing into it."""
    await fill(store, scope)
    async with store.open(other) as work:
        cursor = await work.connection.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'"
            " WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace"
            " AND has_table_privilege('voxdp_tenant', c.oid, 'SELECT')"
        )
        tables = [row["relname"] for row in await cursor.fetchall()]
        assert len(tables) >= 20
        for table in tables:
            rows = await (await work.connection.execute(f"SELECT * FROM {table}".encode())).fetchall()
            assert rows == [], table
        own = await (await work.connection.execute("SELECT name FROM tenants")).fetchall()
        assert [row["name"] for row in own] == ["other"]
        assert (await work.connection.execute("DELETE FROM trunks")).rowcount == 0
        assert (await work.connection.execute("UPDATE users SET enabled = false")).rowcount == 0
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        async with store.open(other) as work:
            await work.connection.execute("INSERT INTO skills (tenant_id, name, description) VALUES (1, 'x', '')")
    with pytest.raises(PermissionError):
        async with store.open(other, as_platform=True):
            raise AssertionError("it was let in")


async def test_every_table_of_tenants_has_row_level_security(conninfo: str) -> None:
    with connect(conninfo) as connection:
        bare = connection.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'"
            " WHERE c.relkind = 'r' AND NOT c.relrowsecurity"
        ).fetchall()
    assert bare == []


@pytest.mark.parametrize("name", ["'; DROP TABLE users; --", "%s", "%(realm)s", "\\", "a\u202eb"])
async def test_texts_are_data_and_never_sql(store: Store, scope: Scope, name: str) -> None:
    async with store.open(scope) as work:
        made = await work.create(USER, body(USER, {"username": "anna", "password": "x", "display_name": name}))
        assert made.values["display_name"] == name
