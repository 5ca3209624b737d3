# SPDX-License-Identifier: GPL-3.0-or-later
"""A real PostgreSQL, started once; each test that asks for `conninfo` has a migrated database of its own."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from provisioning.cdr import Cdr, CdrMedia, cdr_id
from provisioning.database import make_pool
from provisioning.embedded import EmbeddedPostgres
from provisioning.migrate import migrate
from provisioning.store import Scope, Store
from provisioning.vault import Vault

NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def open_directory() -> Iterator[Callable[[], Path]]:
    """Makes directories that other users can enter, which pytest's own are not."""
    made: list[Path] = []

    def make() -> Path:
        made.append(Path(tempfile.mkdtemp(prefix="voxdp-test-")))
        made[-1].chmod(0o711)
        return made[-1]

    yield make
    for directory in made:
        shutil.rmtree(directory)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server(open_directory: Callable[[], Path]) -> AsyncIterator[str]:
    """A server of our own; or the one that TEST_DATABASE names, as an owner of `dbname=voxdp` there."""
    if named := os.environ.get("TEST_DATABASE"):
        await asyncio.to_thread(migrate, named)
        yield named
        return
    if os.geteuid() != 0:
        pytest.fail("these tests start PostgreSQL as another user: run them as root")
    async with EmbeddedPostgres(open_directory() / "pg") as conninfo:
        await asyncio.to_thread(migrate, conninfo)
        yield conninfo


@pytest.fixture
def empty(server: str) -> Iterator[str]:
    """A database without any table."""
    yield from _database(server, "template1")


@pytest.fixture
def conninfo(server: str) -> Iterator[str]:
    """A migrated database."""
    yield from _database(server, "voxdp")


@pytest.fixture
def make_cdr() -> Callable[..., Cdr]:
    start = datetime(2026, 3, 29, 0, 59, 30, tzinfo=UTC)

    def make(call: str, **changes: Any) -> Cdr:
        known: dict[str, Any] = {
            "id": cdr_id(call),
            "call": call,
            "caller": "anna",
            "dialled": "bert",
            "a_call_id": f"{call}@a",
            "b_call_id": f"{call}@b",
            "started": start,
            "ringing": start + timedelta(seconds=1),
            "answered": start + timedelta(seconds=2.5),
            "ended": start + timedelta(seconds=62.75),
            "status": 200,
            "cause": 16,
            "ended_by": "a",
            "reason": "BYE",
            "media": (
                CdrMedia("a", "PCMA", "kernel", 3000, 516000, lost=2, jitter_ms=1.25, largest_gap_ms=41.5),
                CdrMedia("b", "PCMA", "engine", 2990, 514280, reordered=1, duplicates=3),
            ),
        }
        return Cdr(**known | changes)

    return make


@pytest.fixture
def vault() -> Vault:
    return Vault([bytes(range(32))])


@pytest_asyncio.fixture
async def store(conninfo: str, vault: Vault) -> AsyncIterator[Store]:
    """The objects of tenants, in the realm example.net."""
    async with make_pool(conninfo) as pool:
        yield Store(pool, vault, "example.net")


@pytest_asyncio.fixture
async def scope(store: Store) -> Scope:
    """The default tenant."""
    return await store.scope("default", "test")


def _database(server: str, template: str) -> Iterator[str]:
    name = f"test_{next(NUMBERS)}"
    admin = server.replace("dbname=voxdp", "dbname=postgres")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    yield server.replace("dbname=voxdp", f"dbname={name}")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
