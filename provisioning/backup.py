# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole database in one file, and back: PostgreSQL's own pg_dump and pg_restore.

The file holds secrets only sealed: whoever restores it needs the key file too.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

import psycopg

from provisioning.binaries import Binaries
from provisioning.cluster import ENVIRONMENT, telling_line
from provisioning.database import connect
from provisioning.errors import BackupError

SECONDS = 3600


def backup(conninfo: str, path: Path, binaries: Binaries) -> int:
    """Write the database into a file, whole or not at all; return its bytes. Raises BackupError."""
    fresh = path.with_name(path.name + ".new")
    try:
        os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        _run([binaries.program("pg_dump"), "--format=custom", "--no-owner", f"--file={fresh}", conninfo])
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise BackupError(f"{path} cannot be written ({error.strerror}): choose another place") from None
    finally:
        fresh.unlink(missing_ok=True)
    return path.stat().st_size


def restore(conninfo: str, path: Path, binaries: Binaries) -> None:
    """Replace everything in the database by a backup, in one transaction. Raises BackupError, DatabaseUnavailable."""
    if not path.is_file():
        raise BackupError(f"there is no file {path}: name one that voxdp db backup wrote")
    with connect(conninfo) as connection, suppress(psycopg.errors.DuplicateObject):
        connection.execute("CREATE ROLE voxdp_tenant NOLOGIN")
    command = [binaries.program("pg_restore"), "--clean", "--if-exists", "--no-owner", "--single-transaction"]
    _run([*command, "--exit-on-error", f"--dbname={conninfo}", str(path)])


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=ENVIRONMENT)
    except FileNotFoundError:
        raise BackupError(f"{command[0]} is missing; run: apt-get install postgresql-client") from None
    except subprocess.TimeoutExpired:
        raise BackupError(f"{Path(command[0]).name} took longer than {SECONDS} s: is the disk stalled?") from None
    if done.returncode != 0:
        raise BackupError(f"{Path(command[0]).name} failed: {telling_line(done.stderr)}")
