# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the schema up to date: numbered SQL files, each applied once, in order, in a transaction of its own.

Any number of runners may start together: an advisory lock lets one at a time look and apply. A file that was
changed after it had been applied is refused, for then nobody knows what the schema is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psycopg
from psycopg.rows import DictRow

from provisioning.database import Question, Rows, ask, connect, unavailable
from provisioning.errors import MigrationError

DIRECTORY = Path(__file__).parent / "migrations"
LOCK = 0x766F786470  # "voxdp"
LOCK_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Migration:
    """One file, read whole."""

    version: int
    name: str
    sql: bytes

    @property
    def sha256(self) -> str:
        """Digest of the file, in hex."""
        return hashlib.sha256(self.sql).hexdigest()


@dataclass(frozen=True, slots=True)
class MigrationState:
    """A migration and when it was applied; None: not yet."""

    version: int
    name: str
    applied: datetime | None


def migrate(conninfo: str, directory: Path = DIRECTORY) -> list[str]:
    """Apply what is missing and return the names of the files applied now.

    Raises MigrationError if files and schema do not fit together or a file fails, which leaves no trace of it;
    DatabaseUnavailable if PostgreSQL does not answer.
    """
    files = read_migrations(directory)
    with connect(conninfo) as connection:
        try:
            return _apply_missing(connection, files)
        except psycopg.errors.LockNotAvailable as error:
            raise MigrationError("another migration has been running for a minute: wait for it to end") from error
        except psycopg.OperationalError as error:
            raise unavailable(error) from error


def status(conninfo: str, directory: Path = DIRECTORY) -> list[MigrationState]:
    """Return every migration with the time it was applied; raises as `migrate` does, and changes nothing."""
    files = read_migrations(directory)
    with connect(conninfo) as connection:
        applied = ask(connection, _applied()) if ask(connection, _table_exists()) else {}
    _check(files, applied)
    return [MigrationState(file.version, file.name, _when(applied, file)) for file in files]


def read_migrations(directory: Path) -> list[Migration]:
    """Return the files of a directory in order. Raises MigrationError unless they are numbered 1, 2, 3, …"""
    found = []
    for path in sorted(directory.glob("*.sql")):
        if not re.fullmatch(r"\d{4}_[a-z0-9_]+\.sql", path.name):
            raise MigrationError(f"{path} is not named NNNN_words.sql: rename it")
        found.append(Migration(int(path.name[:4]), path.name, path.read_bytes()))
    if not found or [m.version for m in found] != list(range(1, len(found) + 1)):
        raise MigrationError(f"the files in {directory} are not numbered 0001, 0002, …: install voxdp again")
    return found


def _apply_missing(connection: psycopg.Connection[DictRow], files: list[Migration]) -> list[str]:
    connection.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'; SET statement_timeout = 0".encode())
    connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])  # freed when the connection closes
    connection.execute("""
        CREATE TABLE IF NOT EXISTS schema_migrations (
            version integer PRIMARY KEY,
            name text NOT NULL,
            sha256 text NOT NULL,
            applied_at timestamptz NOT NULL DEFAULT now()
        )""")
    applied = ask(connection, _applied())
    _check(files, applied)
    missing = [file for file in files if file.version not in applied]
    for file in missing:
        _apply(connection, file)
    return [file.name for file in missing]


def _apply(connection: psycopg.Connection[DictRow], file: Migration) -> None:
    try:
        with connection.transaction():
            connection.execute(file.sql)
            connection.execute(
                "INSERT INTO schema_migrations (version, name, sha256) VALUES (%s, %s, %s)",
                [file.version, file.name, file.sha256],
            )
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        line = str(error).strip().splitlines()[0]
        raise MigrationError(f"{file.name} fails ({line}): nothing of it was kept; report it with this text") from error


def _check(files: list[Migration], applied: Mapping[int, DictRow]) -> None:
    """Raise unless what was applied is the beginning of what we have."""
    for file in files:
        row = applied.get(file.version)
        if row and row["sha256"] != file.sha256:
            raise MigrationError(
                f"{file.name} was changed after it had been applied: restore the file of the release, "
                f"and put the change into {len(files) + 1:04}_….sql"
            )
    unknown = [row["name"] for version, row in applied.items() if version > len(files)]
    if unknown:
        raise MigrationError(f"the schema is newer than this voxdp ({unknown[0]}): install the newer version")


def _when(applied: Mapping[int, DictRow], file: Migration) -> datetime | None:
    row = applied.get(file.version)
    return row["applied_at"] if row else None


def _table_exists() -> Question[bool]:
    sql = "SELECT to_regclass('schema_migrations') IS NOT NULL AS there"
    return Question(sql, {}, lambda rows: bool(rows[0]["there"]))


def _applied() -> Question[dict[int, DictRow]]:
    def by_version(rows: Rows) -> dict[int, DictRow]:
        return {row["version"]: row for row in rows}

    return Question("SELECT version, name, sha256, applied_at FROM schema_migrations ORDER BY version", {}, by_version)
