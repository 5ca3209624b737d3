# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from provisioning import users
from provisioning.database import Question, ask, connect
from provisioning.embedded import EmbeddedPostgres
from provisioning.errors import DatabaseUnavailable
from provisioning.migrate import migrate
from provisioning.refresh import SnapshotKeeper

REALM = "example.net"


@asynccontextmanager
async def keeping(conninfo: str) -> AsyncIterator[SnapshotKeeper]:
    keeper = SnapshotKeeper(conninfo, REALM)
    task = asyncio.create_task(keeper.run(), name="snapshot")
    try:
        yield keeper
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def seconds_until(condition: Callable[[], bool], limit: float = 5.0) -> float:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < limit, "it did not happen in time"
        await asyncio.sleep(0.005)
    return time.monotonic() - started


async def test_reads_who_is_there(conninfo: str) -> None:
    with connect(conninfo) as connection:
        ask(connection, users.create("anna", REALM, "secret"))
    async with keeping(conninfo) as keeper:
        snapshot = await keeper.loaded()
        assert keeper.ready
    assert snapshot.credentials(REALM, "anna") == {
        name: users.ha1(name, "anna", REALM, "secret") for name in ("MD5", "SHA-256")
    }


async def test_every_change_arrives_within_a_second(conninfo: str) -> None:
    changes: list[tuple[Question[users.User], Callable[[SnapshotKeeper], bool]]] = [
        (users.create("anna", REALM, "x"), lambda keeper: _known(keeper, "anna")),
        (users.set_enabled("anna", REALM, False), lambda keeper: not _known(keeper, "anna")),
        (users.set_enabled("anna", REALM, True), lambda keeper: _known(keeper, "anna")),
        (
            users.set_password("anna", REALM, "y"),
            lambda keeper: _md5(keeper, "anna") == users.ha1("MD5", "anna", REALM, "y"),
        ),
        (users.delete("anna", REALM), lambda keeper: not _known(keeper, "anna")),
    ]
    async with keeping(conninfo) as keeper:
        await keeper.loaded()
        with connect(conninfo) as connection:
            for question, arrived in changes * 4:
                ask(connection, question)
                assert await seconds_until(partial(arrived, keeper)) < 1


async def test_thousands_of_changes_at_once_arrive_too(conninfo: str) -> None:
    async with keeping(conninfo) as keeper:
        await keeper.loaded()
        with connect(conninfo) as connection:
            connection.execute(
                "INSERT INTO users (tenant_id, realm, username, ha1_md5, ha1_sha256) SELECT 1, 'example.net',"
                " 'u' || n, repeat('a', 32), repeat('b', 64) FROM generate_series(1, 5000) n"
            )
            assert await seconds_until(lambda: len(keeper.current.accounts) == 5000) < 2
            connection.execute("TRUNCATE users")
            assert await seconds_until(lambda: not keeper.current.accounts) < 1


async def test_a_cut_connection_is_made_again_and_misses_nothing(conninfo: str) -> None:
    async with keeping(conninfo) as keeper:
        await keeper.loaded()
        with connect(conninfo) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            ask(connection, users.create("anna", REALM, "x"))
            assert await seconds_until(lambda: _known(keeper, "anna")) < 2
            assert keeper.trouble is None


async def test_serves_from_memory_while_postgresql_is_away(open_directory: Callable[[], Path]) -> None:
    postgres = EmbeddedPostgres(open_directory() / "pg")
    conninfo = await postgres.start()
    await asyncio.to_thread(migrate, conninfo)
    with connect(conninfo) as connection:
        ask(connection, users.create("anna", REALM, "x"))
    async with keeping(conninfo) as keeper:
        await keeper.loaded()
        await postgres.stop()
        await seconds_until(lambda: keeper.trouble is not None)
        assert _known(keeper, "anna")
        await postgres.start()
        with connect(conninfo) as connection:
            ask(connection, users.create("bert", REALM, "x"))
        assert await seconds_until(lambda: _known(keeper, "bert")) < 3
        assert _known(keeper, "anna")
    await postgres.stop()


async def test_says_that_nothing_could_be_read(tmp_path: Path) -> None:
    async with keeping(f"host={tmp_path} dbname=voxdp") as keeper:
        with pytest.raises(DatabaseUnavailable, match=r"users could not be read .*: see that PostgreSQL runs"):
            await keeper.loaded(0.3)
        assert not keeper.ready


def _known(keeper: SnapshotKeeper, name: str) -> bool:
    return keeper.current.credentials(REALM, name) is not None


def _md5(keeper: SnapshotKeeper, name: str) -> str | None:
    account = keeper.current.account(REALM, name)
    return account.ha1_md5 if account else None
