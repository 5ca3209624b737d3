# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from provisioning import cdr_search
from provisioning.cdr import Cdr, CdrMedia
from provisioning.cdr_search import CdrFilter
from provisioning.cdr_writer import CdrWriter
from provisioning.database import ask, connect, make_pool
from provisioning.embedded import EmbeddedPostgres
from provisioning.errors import NotFound
from provisioning.journal import CdrJournal
from provisioning.migrate import migrate
from tests.patience import PATIENCE

MakeCdr = Callable[..., Cdr]
KILLS = 60


@asynccontextmanager
async def writing(directory: Path, conninfo: str) -> AsyncIterator[tuple[CdrJournal, CdrWriter]]:
    async with make_pool(conninfo) as pool, CdrJournal(directory) as journal:
        writer = CdrWriter(journal, pool)
        task = asyncio.create_task(writer.run(), name="cdr writer")
        try:
            yield journal, writer
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def count(conninfo: str, table: str = "cdrs") -> int:
    with connect(conninfo) as connection:
        row = connection.execute(f"SELECT count(*) AS n FROM {table}".encode()).fetchone()
        assert row
        return int(row["n"])


async def test_a_record_arrives_whole(tmp_path: Path, conninfo: str, make_cdr: MakeCdr) -> None:
    whole = make_cdr("c1")
    bare = make_cdr("c2", b_call_id=None, ringing=None, answered=None, media=(), status=486, cause=17, ended_by="b")
    async with writing(tmp_path, conninfo) as (journal, _):
        await journal.append(whole)
        await journal.append(bare)
        assert await journal.drained(PATIENCE)
    with connect(conninfo) as connection:
        assert ask(connection, cdr_search.get(whole.id)) == whole
        assert ask(connection, cdr_search.get(bare.id)) == bare
        rows = connection.execute("SELECT duration_ms, billed_ms FROM cdrs ORDER BY call").fetchall()
        assert [tuple(row.values()) for row in rows] == [(62750, 60250), (62750, 0)]
        with pytest.raises(NotFound, match="no call record"):
            ask(connection, cdr_search.get(uuid4()))


async def test_the_same_call_twice_is_one_row(tmp_path: Path, conninfo: str, make_cdr: MakeCdr) -> None:
    for _ in range(2):
        async with writing(tmp_path, conninfo) as (journal, _):
            for _ in range(3):
                await journal.append(make_cdr("c"))
            assert await journal.drained(PATIENCE)
    assert (count(conninfo), count(conninfo, "cdr_media")) == (1, 2)


async def test_a_record_that_cannot_be_stored_does_not_hold_up_others(
    tmp_path: Path, conninfo: str, make_cdr: MakeCdr
) -> None:
    async with writing(tmp_path, conninfo) as (journal, writer):
        cdrs = [make_cdr(f"c{n}") for n in range(20)]
        cdrs[3] = replace(cdrs[3], status=1 << 40)
        cdrs[11] = replace(cdrs[11], tenant=999)
        cdrs[12] = replace(cdrs[12], caller="nul \0, surrogate \ud800, escape \x1b")
        await asyncio.gather(*map(journal.append, cdrs))
        assert await journal.drained(PATIENCE)
        assert writer.counts.rejected == 2
        assert writer.trouble is None
    assert count(conninfo) == 18
    assert (tmp_path / "rejected.jsonl").read_bytes().count(b"\n") == 2


async def test_records_wait_while_postgresql_is_away_and_arrive_once_it_is_back(
    open_directory: Callable[[], Path], tmp_path: Path, make_cdr: MakeCdr
) -> None:
    postgres = EmbeddedPostgres(open_directory() / "pg")
    conninfo = await postgres.start()
    await asyncio.to_thread(migrate, conninfo)
    async with writing(tmp_path, conninfo) as (journal, writer):
        for round_ in range(3):
            await journal.append(make_cdr(f"before{round_}"))
            assert await journal.drained(PATIENCE)
            await postgres.stop()
            async with asyncio.timeout(PATIENCE):  # for the database they would wait for ever
                await asyncio.gather(*(journal.append(make_cdr(f"away{round_}.{n}")) for n in range(50)))
            await postgres.start()
            assert await journal.drained(PATIENCE)
            assert writer.trouble is None
        assert count(conninfo) == 3 * 51
    await postgres.stop()


async def test_records_wait_while_postgresql_takes_no_writes(tmp_path: Path, conninfo: str, make_cdr: MakeCdr) -> None:
    name = psycopg.conninfo.conninfo_to_dict(conninfo)["dbname"]
    with connect(conninfo) as connection:
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
    async with writing(tmp_path, conninfo) as (journal, writer):
        await journal.append(make_cdr("c"))
        async with asyncio.timeout(PATIENCE):
            while writer.trouble is None:
                await asyncio.sleep(0.01)
        assert "read-only" in writer.trouble
        assert not await journal.drained(0.1)
    with connect(conninfo) as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only".encode())
    async with writing(tmp_path, conninfo) as (journal, _):
        assert await journal.drained(PATIENCE)
    assert count(conninfo) == 1


def test_killed_anywhere_what_was_acknowledged_is_stored_once(tmp_path: Path, conninfo: str) -> None:
    """A program that writes records as fast as it can is killed again and again, at moments of no plan."""
    program = [sys.executable, str(Path(__file__).parent / "killed_writer.py"), str(tmp_path), conninfo, str(KILLS)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    acknowledged = done.stdout.split()
    asyncio.run(finish(tmp_path, conninfo))
    with connect(conninfo) as connection:
        stored = [row["call"] for row in connection.execute("SELECT call FROM cdrs")]
        halves = connection.execute(
            "SELECT cdr_id FROM cdr_media GROUP BY cdr_id HAVING count(*) <> 2"
            " UNION SELECT id FROM cdrs WHERE id NOT IN (SELECT cdr_id FROM cdr_media)"
        ).fetchall()
    assert len(acknowledged) > KILLS * 3
    assert set(acknowledged) <= set(stored)
    assert len(stored) == len(set(stored))
    assert halves == []


async def finish(directory: Path, conninfo: str) -> None:
    async with writing(directory, conninfo) as (journal, _):
        assert await journal.drained(PATIENCE)
        assert journal.counts.damaged == 0


async def test_search(tmp_path: Path, conninfo: str, make_cdr: MakeCdr) -> None:
    noon, hour = datetime(2026, 5, 1, 12, tzinfo=UTC), timedelta(hours=1)
    cdrs = [
        make_cdr("c0", started=noon, ended=noon, answered=None, status=404, media=()),
        make_cdr(
            "c1", started=noon + timedelta(hours=1), ended=noon + timedelta(hours=2), caller="bert", dialled="carl"
        ),
        make_cdr("c2", started=noon + timedelta(hours=2), ended=noon + timedelta(hours=3), dialled="dora"),
        make_cdr("c3", started=noon + timedelta(hours=2), ended=noon + timedelta(hours=3), dialled="%"),
    ]
    async with writing(tmp_path, conninfo) as (journal, _):
        await asyncio.gather(*map(journal.append, cdrs))
        assert await journal.drained(PATIENCE)

    with connect(conninfo) as connection:

        def found(wanted: CdrFilter, limit: int = 100) -> set[str]:
            return {cdr.call for cdr in ask(connection, cdr_search.search(wanted, limit=limit))}

        assert found(CdrFilter()) == {"c0", "c1", "c2", "c3"}
        assert found(CdrFilter(party="bert")) == {"c0", "c1"}
        assert found(CdrFilter(caller="bert")) == {"c1"}
        assert found(CdrFilter(dialled="%")) == {"c3"}
        assert found(CdrFilter(answered=False)) == {"c0"}
        assert found(CdrFilter(since=noon + hour, until=noon + 2 * hour)) == {"c1"}
        assert found(CdrFilter(call_id="c2@b")) == {"c2"}
        assert found(CdrFilter(beginning="c")) == {"c0", "c1", "c2", "c3"}
        assert found(CdrFilter(beginning="c1")) == found(CdrFilter(beginning="c1@b")) == {"c1"}
        assert found(CdrFilter(beginning="%")) == found(CdrFilter(beginning="c1@")) == set()
        assert found(CdrFilter(party="'; DROP TABLE cdrs; --")) == set()

        pages: list[Cdr] = []
        while page := ask(
            connection, cdr_search.search(after=(pages[-1].started, pages[-1].id) if pages else None, limit=1)
        ):
            pages += page
        assert sorted(cdr.call for cdr in pages) == ["c0", "c1", "c2", "c3"]
        assert [cdr.started for cdr in pages] == sorted((cdr.started for cdr in cdrs), reverse=True)
        assert isinstance(pages[0].media[0], CdrMedia)
