# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from provisioning.database import connect, unavailable
from provisioning.errors import DatabaseUnavailable, MigrationError
from provisioning.migrate import migrate, read_migrations, status


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "0001_first.sql").write_text("CREATE TABLE a (n int); INSERT INTO a VALUES (1);")
    (tmp_path / "0002_second.sql").write_text("UPDATE a SET n = n + 1;")
    return tmp_path


def number(conninfo: str) -> int:
    with connect(conninfo) as connection:
        row = connection.execute("SELECT n FROM a").fetchone()
        assert row
        return int(row["n"])


def test_applies_each_file_once_and_in_order(empty: str, files: Path) -> None:
    assert migrate(empty, files) == ["0001_first.sql", "0002_second.sql"]
    assert migrate(empty, files) == []
    assert number(empty) == 2


def test_applies_what_a_new_version_brings(empty: str, files: Path) -> None:
    migrate(empty, files)
    (files / "0003_third.sql").write_text("UPDATE a SET n = 10;")
    assert [state.applied is None for state in status(empty, files)] == [False, False, True]
    assert migrate(empty, files) == ["0003_third.sql"]
    assert number(empty) == 10


def test_concurrent_runners_apply_each_file_once(empty: str, files: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        applied = list(threads.map(lambda _: migrate(empty, files), range(8)))
    assert sorted(map(len, applied)) == [0] * 7 + [2]
    assert number(empty) == 2


def test_refuses_a_file_changed_after_it_was_applied(empty: str, files: Path) -> None:
    migrate(empty, files)
    (files / "0001_first.sql").write_text("CREATE TABLE a (n bigint);")
    for look in (migrate, status):
        with pytest.raises(MigrationError, match=r"0001_first\.sql was changed .*: restore .* 0003_"):
            look(empty, files)


def test_refuses_a_schema_newer_than_itself(empty: str, files: Path) -> None:
    migrate(empty, files)
    (files / "0002_second.sql").unlink()
    with pytest.raises(MigrationError, match=r"newer than this voxdp \(0002_second\.sql\): install"):
        migrate(empty, files)


def test_a_failing_file_leaves_no_trace(empty: str, files: Path) -> None:
    (files / "0003_bad.sql").write_text("UPDATE a SET n = 99; SELECT nonsense;")
    with pytest.raises(MigrationError, match=r"0003_bad\.sql fails \(column"):
        migrate(empty, files)
    assert number(empty) == 2
    assert [state.applied is None for state in status(empty, files)] == [False, False, True]


@pytest.mark.parametrize("name", ["0003_Gross.sql", "3_x.sql", "0004_gap.sql", "0002_twice.sql"])
def test_refuses_files_out_of_order(files: Path, name: str) -> None:
    (files / name).write_text("SELECT 1;")
    with pytest.raises(MigrationError, match=r": (rename|install)"):
        read_migrations(files)


def test_names_the_remedy_without_a_server(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"\(.* failed: No such file .*\): start it, by voxdp run"):
        migrate(f"host={tmp_path} dbname=voxdp")


def test_a_full_disk_is_called_so() -> None:
    full = unavailable(psycopg.errors.DiskFull('could not extend file "base/1": No space left on device\nHINT: see'))
    assert str(full) == (
        'PostgreSQL cannot write (could not extend file "base/1": No space left on device): make room on its disk'
    )


def test_the_released_files_are_in_order(conninfo: str) -> None:
    assert all(state.applied for state in status(conninfo))
