# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from provisioning.binaries import find_binaries
from provisioning.cluster import ENVIRONMENT
from provisioning.embedded import EmbeddedPostgres
from provisioning.errors import DatabaseUnavailable
from provisioning.osuser import database_user
from tests.patience import PATIENCE

ROOT = Path(__file__).parents[2]

SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from provisioning.embedded import EmbeddedPostgres

async def main():
    postgres = EmbeddedPostgres(Path(sys.argv[1]))
    await postgres.start()
    print(postgres.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def directory(open_directory: Callable[[], Path]) -> Path:
    return open_directory() / "pg"


Supervise = Callable[..., tuple[subprocess.Popen[str], int]]


@pytest.fixture
def supervise() -> Iterator[Supervise]:
    """Starts a supervisor as a process of its own; returns it and the process id of its server."""
    started = []

    def start(directory: Path, *prefix: str) -> tuple[subprocess.Popen[str], int]:
        command = [*prefix, sys.executable, "-c", SUPERVISOR, str(directory)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout
        return process, int(process.stdout.readline())

    yield start
    for process in started:
        finish(process)


def finish(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    if process.stdout:
        process.stdout.close()


def wait_for(condition: Callable[[], bool], limit: float = PATIENCE) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def wait_until_gone(pid: int) -> None:
    """Wait for the end of a process; its adoptive parent may take longer to notice."""
    wait_for(lambda: state(pid) in ("Z", "X"))


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def write(conninfo: str, text: str) -> None:
    with psycopg.connect(conninfo) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (text text)")
        connection.execute("INSERT INTO kept VALUES (%s)", [text])


def read(conninfo: str) -> list[str]:
    with psycopg.connect(conninfo) as connection:
        return [row[0] for row in connection.execute("SELECT text FROM kept ORDER BY text")]


@pytest.mark.alone
async def test_starts_stops_and_keeps_its_data(directory: Path) -> None:
    async with EmbeddedPostgres(directory) as conninfo:
        write(conninfo, "one")
    started = time.monotonic()
    async with EmbeddedPostgres(directory) as conninfo:
        took = time.monotonic() - started
        assert read(conninfo) == ["one"]
    assert took < 2, f"a later start took {took:.2f} s"


async def test_starting_twice_and_stopping_twice_is_harmless(directory: Path) -> None:
    postgres = EmbeddedPostgres(directory)
    await postgres.stop()
    await postgres.start()
    first = postgres.pid
    assert await postgres.start() == postgres.conninfo
    assert postgres.pid == first
    await postgres.stop()
    await postgres.stop()
    assert postgres.pid is None


async def test_only_the_private_socket_leads_to_it(directory: Path) -> None:
    postgres = EmbeddedPostgres(directory)
    async with postgres as conninfo:
        cluster, user = postgres.cluster, database_user("postgres")
        for private in (cluster.data, cluster.socket):
            assert (private.stat().st_mode & 0o777, private.stat().st_uid) == (0o700, user.uid)
        with psycopg.connect(conninfo) as connection:
            assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
            assert connection.execute("SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL").fetchone() == (
                0,
            )
        assert Path(f"/proc/{postgres.pid}").stat().st_uid == user.uid
        status = Path(f"/proc/{postgres.pid}/status").read_text()
        assert "NoNewPrivs:\t1" in status
        assert "CapEff:\t0000000000000000" in status


@pytest.mark.alone
def test_killing_the_supervisor_ends_the_server_and_the_next_start_has_the_data(
    directory: Path, supervise: Supervise
) -> None:
    conninfo = EmbeddedPostgres(directory).conninfo
    process, pid = supervise(directory)
    for text in ("a", "b", "c"):
        with psycopg.connect(conninfo):  # a client that stays connected does not keep it alive
            write(conninfo, text)
            finish(process)
            started = time.monotonic()
            process, successor = supervise(directory)
        took = time.monotonic() - started
        assert took < 5, f"back after {took:.1f} s"
        wait_until_gone(pid)
        assert text in read(conninfo)
        pid = successor
    finish(process)
    wait_until_gone(pid)
    assert not (directory / "data/postmaster.pid").exists()


async def test_starts_again_when_the_server_is_killed(directory: Path) -> None:
    postgres = EmbeddedPostgres(directory)
    async with postgres as conninfo:
        write(conninfo, "before")
        first = postgres.pid
        assert first
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(PATIENCE):
            while postgres.pid in (first, None) or not postgres.cluster.ready(postgres.pid or 0):
                await asyncio.sleep(0.02)
        assert read(conninfo) == ["before"]


async def test_ends_a_server_that_outlived_its_supervisor(directory: Path) -> None:
    postgres = EmbeddedPostgres(directory)
    async with postgres as conninfo:
        write(conninfo, "kept")
    binaries = find_binaries()
    command = postgres.cluster.server_command(binaries, database_user("postgres"))
    with subprocess.Popen(command, cwd=directory, env=ENVIRONMENT, stderr=subprocess.DEVNULL) as orphan:
        wait_for(lambda: postgres.cluster.ready(orphan.pid))
        async with postgres as conninfo:
            assert orphan.poll() is not None
            assert read(conninfo) == ["kept"]


async def test_a_process_id_of_somebody_else_is_no_server(directory: Path) -> None:
    postgres = EmbeddedPostgres(directory)
    async with postgres:
        left = (postgres.cluster.data / "postmaster.pid").read_text().splitlines()
    user = database_user("postgres")
    with subprocess.Popen(user.command(["sleep", "100"])) as stranger:
        (postgres.cluster.data / "postmaster.pid").write_text("\n".join([str(stranger.pid), *left[1:]]) + "\n")
        async with postgres:
            assert stranger.poll() is None
        stranger.kill()


async def test_one_supervisor_at_a_time(directory: Path) -> None:
    async with EmbeddedPostgres(directory):
        with pytest.raises(DatabaseUnavailable, match=rf"already run by process {os.getpid()}: .* database\.url = "):
            await EmbeddedPostgres(directory).start()


async def test_refuses_data_of_another_major_version(directory: Path) -> None:
    async with EmbeddedPostgres(directory):
        pass
    (directory / "data/PG_VERSION").write_text("99\n")
    with pytest.raises(DatabaseUnavailable, match="apt-get install postgresql-99; to move on, dump it"):
        await EmbeddedPostgres(directory).start()


async def test_refuses_a_path_that_the_server_cannot_enter(directory: Path) -> None:
    closed = directory.parent / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(DatabaseUnavailable, match=rf"user postgres cannot enter {closed}, .* chmod o\+x {closed}"):
        await EmbeddedPostgres(closed / "pg").start()
    assert closed.stat().st_mode & 0o777 == 0o700


async def test_refuses_a_user_that_is_missing_or_root(directory: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"user nobody-here does not exist: .* adduser"):
        await EmbeddedPostgres(directory, os_user="nobody-here").start()
    with pytest.raises(DatabaseUnavailable, match=r"does not run as root: set database\.os_user"):
        await EmbeddedPostgres(directory, os_user="root").start()


async def test_refuses_a_path_too_long_for_a_socket(directory: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="too long for a Unix socket: choose a shorter"):
        await EmbeddedPostgres(directory / ("x" * 90)).start()


async def test_shows_why_the_server_does_not_start(directory: Path) -> None:
    async with EmbeddedPostgres(directory):
        pass
    with (directory / "data/postgresql.conf").open("a") as file:
        file.write("nonsense = 1\n")
    with pytest.raises(DatabaseUnavailable, match=r"PostgreSQL does not start: .*nonsense|postgresql\.conf"):
        await EmbeddedPostgres(directory).start()


async def test_half_a_cluster_is_made_anew(directory: Path) -> None:
    directory.mkdir()
    (directory / "data.new").mkdir()
    (directory / "data.new/PG_VERSION").write_text("15\n")
    async with EmbeddedPostgres(directory) as conninfo:
        write(conninfo, "x")


def test_without_root_it_runs_as_ourselves(open_directory: Callable[[], Path], supervise: Supervise) -> None:
    user = database_user("postgres")
    base = open_directory()
    user.own_directory(base)
    prefix = user.command([])
    process, pid = supervise(base / "pg", *prefix)
    assert Path(f"/proc/{pid}").stat().st_uid == user.uid
    finish(process)
    wait_until_gone(pid)
