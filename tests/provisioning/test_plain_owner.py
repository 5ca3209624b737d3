# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that is not ours: its user owns the database and is no administrator."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from provisioning.database import connect, make_pool
from provisioning.errors import MigrationError, NotFound
from provisioning.migrate import migrate
from provisioning.models import Tenant
from provisioning.resources import OBJECTS, SKILL, TENANT
from provisioning.sealing import seal_all
from provisioning.store import Store
from provisioning.vault import Vault
from tests.provisioning.examples import EXAMPLES


@pytest.fixture
def owned(empty: str) -> Iterator[str]:
    """An empty database of a user who may nothing else; the role of tenants is granted by an administrator."""
    reached = psycopg.conninfo.conninfo_to_dict(empty)
    name, password = reached["dbname"], reached.get("password", "")
    with connect(empty) as connection:
        connection.execute(
            f"CREATE ROLE plain_owner LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB PASSWORD '{password}'".encode()
        )
        connection.execute(f"ALTER DATABASE {name} OWNER TO plain_owner".encode())
        connection.execute("ALTER SCHEMA public OWNER TO plain_owner")
    yield empty.replace("user=voxdp", "user=plain_owner")
    with connect(empty) as connection:
        connection.execute(f"ALTER DATABASE {name} OWNER TO voxdp".encode())
        connection.execute("DROP OWNED BY plain_owner CASCADE; DROP ROLE plain_owner")


def grant(empty: str) -> None:
    with connect(empty) as connection:
        connection.execute("GRANT voxdp_tenant TO plain_owner")


async def test_everything_works_and_tenants_are_apart(owned: str, empty: str, vault: Vault) -> None:
    grant(empty)
    assert len(migrate(owned)) >= 6
    assert migrate(owned) == []
    async with make_pool(owned) as pool:
        store = Store(pool, vault, "example.net")
        scope = await store.scope("default", "test", platform=True)
        async with store.open(scope) as work:
            for resource in OBJECTS:
                await work.create(resource, resource.model.model_validate(EXAMPLES[resource.name][0], strict=False))
        async with store.open(scope, as_platform=True) as work:
            await work.create(TENANT, Tenant(name="other", realm="other.example"))
        other = await store.scope("other", "test")
        async with store.open(other) as work:
            assert await work.page(SKILL) == []
            with pytest.raises(NotFound):
                await work.get(SKILL, "french")
            assert (await (await work.connection.execute("SELECT * FROM users")).fetchall()) == []
    assert seal_all(owned, Vault([bytes(32), bytes(range(32))])) == 4


def test_who_may_not_be_granted_the_role_is_told_what_to_run(owned: str) -> None:
    with pytest.raises(MigrationError, match=r"voxdp_tenant is missing.*GRANT voxdp_tenant TO plain_owner"):
        migrate(owned)
