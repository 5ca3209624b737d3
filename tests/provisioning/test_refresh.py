# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from pydantic import SecretStr

from provisioning.credentials import ha1, ha1_columns
from provisioning.database import connect, make_pool
from provisioning.embedded import EmbeddedPostgres
from provisioning.errors import DatabaseUnavailable
from provisioning.migrate import migrate
from provisioning.models import User
from provisioning.plan import Member
from provisioning.rates import replace_rates
from provisioning.refresh import SnapshotKeeper
from provisioning.resources import NUMBER, OBJECTS, ROUTE, TENANT, TRUNK, USER
from provisioning.store import Store, Workspace
from provisioning.vault import Vault
from tests.patience import PATIENCE
from tests.provisioning.examples import EXAMPLES

REALM = "example.net"


@asynccontextmanager
async def keeping(conninfo: str, vault: Vault) -> AsyncIterator[SnapshotKeeper]:
    keeper = SnapshotKeeper(conninfo, vault, REALM)
    task = asyncio.create_task(keeper.run(), name="snapshot")
    try:
        yield keeper
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def put(store: Store, work: Callable[[Workspace], Awaitable[object]]) -> None:
    async with store.open(await store.scope("default", "test")) as workspace:
        await work(workspace)


def user(name: str, password: str = "secret") -> Callable[[Workspace], Awaitable[object]]:
    return lambda work: work.create(USER, User(username=name, password=SecretStr(password)))


async def seconds_until(condition: Callable[[], bool], limit: float = PATIENCE) -> float:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < limit, "it did not happen in time"
        await asyncio.sleep(0.005)
    return time.monotonic() - started


async def test_reads_who_is_there(conninfo: str, vault: Vault, store: Store) -> None:
    await put(store, user("anna"))
    async with keeping(conninfo, vault) as keeper:
        snapshot = await keeper.loaded(PATIENCE)
        assert keeper.ready
    assert snapshot.credentials(REALM, "anna") == {
        name: ha1(name, "anna", REALM, "secret") for name in ("MD5", "SHA-256")
    }


@pytest.mark.alone
async def test_every_change_of_a_user_arrives_within_a_second(conninfo: str, vault: Vault, store: Store) -> None:
    def merged(**changes: object) -> Callable[[Workspace], Awaitable[object]]:
        return lambda work: work.merge(USER, "anna", changes)

    steps: list[tuple[Callable[[Workspace], Awaitable[object]], Callable[[SnapshotKeeper], bool]]] = [
        (user("anna"), lambda keeper: _known(keeper, "anna")),
        (merged(enabled=False), lambda keeper: not _known(keeper, "anna")),
        (merged(enabled=True, ring_seconds=7), lambda keeper: _known(keeper, "anna")),
        (merged(password="y"), lambda keeper: _md5(keeper, "anna") == ha1("MD5", "anna", REALM, "y")),
        (lambda work: work.delete(USER, "anna"), lambda keeper: not _known(keeper, "anna")),
    ]
    async with keeping(conninfo, vault) as keeper:
        await keeper.loaded(PATIENCE)
        for step, arrived in steps * 4:
            await put(store, step)
            assert await seconds_until(partial(arrived, keeper)) < 1


@pytest.mark.alone
async def test_every_change_of_a_plan_arrives_within_a_second(conninfo: str, vault: Vault, store: Store) -> None:
    """All that routing knows, as models made it and as the plan has it."""
    async with keeping(conninfo, vault) as keeper:
        await keeper.loaded(PATIENCE)
        async with store.open(await store.scope("default", "test")) as work:
            for resource in OBJECTS:
                await work.create(resource, resource.model.model_validate(EXAMPLES[resource.name][0], strict=False))
            await replace_rates(work, "cheap", [("33", 4000), ("331", 3000)])
        assert await seconds_until(lambda: keeper.current.owners == {"+33123456789": 1}) < 1
        plan = keeper.current.plan(1)
        assert plan.trunks["paris"].password == "pw"
        assert plan.trunks["paris"].retry_causes >= {34, 42}
        assert "pw" not in repr(plan)
        assert plan.decks["cheap"].price("33123") == 3000
        assert [route.trunks for route in plan.routes["33"]] == [(Member("paris", weight=2),)]
        assert plan.groups["sales"].members == ("anna",)
        assert plan.extensions["500"] == plan.groups["sales"]
        assert plan.extensions["600"] == plan.queues["support"]
        assert plan.dial_plans["fr"].rules[0].strip == 1
        assert plan.restrictions == {"53": "block"}
        office = plan.calendars["office"]
        assert office.is_open(datetime(2026, 5, 1, 16, tzinfo=UTC) - timedelta(minutes=1))
        assert not office.is_open(datetime(2026, 12, 25, 10, tzinfo=UTC))
        for changes, resource, key, arrived in (
            ({"channel_limit": 5}, TRUNK, "paris", lambda plan: plan.trunks["paris"].channel_limit == 5),
            ({"enabled": False}, ROUTE, "france", lambda plan: not plan.routes),
            ({"queue": None}, NUMBER, "+33123456789", lambda plan: plan.numbers["+33123456789"].queue is None),
            ({"srtp": "preferred"}, TRUNK, "paris", lambda plan: plan.trunks["paris"].srtp == "preferred"),
        ):
            await put(store, lambda work, r=resource, k=key, c=changes: work.merge(r, k, c))  # type: ignore[misc]
            assert await seconds_until(partial(lambda test: test(keeper.current.plan(1)), arrived)) < 1
        async with store.open(await store.scope("default", "test", platform=True), as_platform=True) as work:
            await work.merge(TENANT, "default", {"srtp": "required"})
            await work.merge(TENANT, "default", {"recording": "all", "recording_consent": "not-needed"})
        assert await seconds_until(lambda: keeper.current.plan(1).srtp == "required") < 1
        assert (keeper.current.plan(1).recording, keeper.current.plan(1).recording_consent) == ("all", "not-needed")
        await put(store, lambda work: replace_rates(work, "cheap", [("33", 5)]))
        assert await seconds_until(lambda: keeper.current.plan(1).decks["cheap"].price("33123") == 5) < 1


async def test_who_waits_until_it_has_caught_up_finds_each_change(conninfo: str, vault: Vault, store: Store) -> None:
    async with make_pool(conninfo) as pool, keeping(conninfo, vault) as first, keeping(conninfo, vault) as second:
        for number in range(20):
            await put(store, user(f"anna{number}"))
            await asyncio.gather(*(keeper.caught_up(pool) for keeper in (first, second)))
            assert _known(first, f"anna{number}")
            assert _known(second, f"anna{number}")


async def test_who_waits_is_told_though_nobody_heard_the_mark(conninfo: str, vault: Vault, store: Store) -> None:
    keeper = SnapshotKeeper(conninfo, vault, REALM)
    async with make_pool(conninfo) as pool, asyncio.TaskGroup() as tasks:
        await put(store, user("anna"))
        waiting = tasks.create_task(keeper.caught_up(pool))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        running = tasks.create_task(keeper.run())
        await waiting
        running.cancel()
    assert _known(keeper, "anna")


@pytest.mark.alone
async def test_thousands_of_changes_at_once_arrive_too(conninfo: str, vault: Vault) -> None:
    async with keeping(conninfo, vault) as keeper:
        await keeper.loaded(PATIENCE)
        rows = [(f"u{n}", *ha1_columns(f"u{n}", REALM, "x", vault).values()) for n in range(5000)]
        with connect(conninfo) as connection:
            with connection.transaction(), connection.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO users (tenant_id, realm, username, ha1_md5, ha1_sha256)"
                    " VALUES (1, 'example.net', %s, %s, %s)",
                    rows,
                )
            assert await seconds_until(lambda: len(keeper.current.accounts) == 5000) < 2
            connection.execute("TRUNCATE users CASCADE")
            assert await seconds_until(lambda: not keeper.current.accounts) < 1


async def test_a_secret_that_cannot_be_opened_costs_one_user_and_no_other(
    conninfo: str, vault: Vault, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    await put(store, user("anna"))
    await put(store, user("bert"))
    with connect(conninfo) as connection:
        connection.execute("UPDATE users SET ha1_md5 = (SELECT ha1_md5 FROM users WHERE username = 'anna')")
    async with keeping(conninfo, vault) as keeper:
        await keeper.loaded(PATIENCE)
        assert _known(keeper, "anna")
        assert not _known(keeper, "bert")
    assert "user bert cannot register" in caplog.text


@pytest.mark.alone
async def test_a_cut_connection_is_made_again_and_misses_nothing(conninfo: str, vault: Vault, store: Store) -> None:
    async with keeping(conninfo, vault) as keeper:
        await keeper.loaded(PATIENCE)
        with connect(conninfo) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        await put(store, user("anna"))
        assert await seconds_until(lambda: _known(keeper, "anna")) < 2
        assert keeper.trouble is None


@pytest.mark.alone
async def test_serves_from_memory_while_postgresql_is_away(open_directory: Callable[[], Path], vault: Vault) -> None:
    postgres = EmbeddedPostgres(open_directory() / "pg")
    conninfo = await postgres.start()
    await asyncio.to_thread(migrate, conninfo)
    async with make_pool(conninfo) as pool, keeping(conninfo, vault) as keeper:
        store = Store(pool, vault, REALM)
        await put(store, user("anna"))
        await keeper.loaded(PATIENCE)
        await seconds_until(lambda: _known(keeper, "anna"))
        await postgres.stop()
        await seconds_until(lambda: keeper.trouble is not None)
        assert _known(keeper, "anna")
        await postgres.start()
        await put(store, user("bert"))
        assert await seconds_until(lambda: _known(keeper, "bert")) < 3
        assert _known(keeper, "anna")
    await postgres.stop()


async def test_says_that_nothing_could_be_read(tmp_path: Path, vault: Vault) -> None:
    async with keeping(f"host={tmp_path} dbname=voxdp", vault) as keeper:
        with pytest.raises(DatabaseUnavailable, match=r"users could not be read .*: see that PostgreSQL runs"):
            await keeper.loaded(0.3)
        assert not keeper.ready


def _known(keeper: SnapshotKeeper, name: str) -> bool:
    return keeper.current.credentials(REALM, name) is not None


def _md5(keeper: SnapshotKeeper, name: str) -> str | None:
    account = keeper.current.account(REALM, name)
    return account.ha1_md5 if account else None
