# SPDX-License-Identifier: GPL-3.0-or-later
"""Where PostgreSQL's server programs are: Debian keeps each major version in a directory of its own."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from provisioning.errors import DatabaseUnavailable

OLDEST_MAJOR = 15
DEBIAN_ROOT = Path("/usr/lib/postgresql")


@dataclass(frozen=True, slots=True)
class Binaries:
    """A directory with `postgres` and `initdb`, and their major version."""

    directory: Path
    major: int

    def program(self, name: str) -> str:
        """Return the full path of one of the programs."""
        return str(self.directory / name)


def find_binaries(configured: Path | None = None, wanted: int | None = None, root: Path = DEBIAN_ROOT) -> Binaries:
    """Return the server programs to use: the configured directory, else Debian's, newest first.

    `wanted` is the major version of a cluster that exists already; only that one can open it.
    Raises DatabaseUnavailable when there is none, naming the package to install.
    """
    found = [_configured(configured)] if configured else _installed(root)
    usable = [b for b in found if b.major >= OLDEST_MAJOR]
    if not usable:
        raise DatabaseUnavailable(_nothing_usable(configured, found))
    if wanted is None:
        return usable[0]
    for binaries in usable:
        if binaries.major == wanted:
            return binaries
    raise DatabaseUnavailable(_other_major(wanted, usable[0]))


def _configured(directory: Path) -> Binaries:
    if not (directory / "initdb").exists() or not (directory / "postgres").exists():
        raise DatabaseUnavailable(
            f"no postgres and initdb in {directory}: correct database.binaries, "
            f"or leave it out and run: apt-get install postgresql-{OLDEST_MAJOR}"
        )
    return Binaries(directory, _major_of(directory / "postgres"))


def _installed(root: Path) -> list[Binaries]:
    """Return what Debian's packages installed, newest first."""
    candidates = [path for path in root.glob("*/bin/postgres") if path.parent.parent.name.isdigit()]
    complete = [path.parent for path in candidates if (path.parent / "initdb").exists()]
    found = [Binaries(directory, int(directory.parent.name)) for directory in complete]
    return sorted(found, key=lambda binaries: binaries.major, reverse=True)


def _major_of(postgres: Path) -> int:
    """Ask a server program for its version: `postgres (PostgreSQL) 15.18 (Debian ...)`."""
    try:
        done = subprocess.run([postgres, "--version"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise DatabaseUnavailable(f"{postgres} does not run ({error}): correct database.binaries") from error
    match = re.search(r"\) (\d+)", done.stdout)
    if not match:
        raise DatabaseUnavailable(f"{postgres} is not PostgreSQL's server: correct database.binaries")
    return int(match[1])


def _nothing_usable(configured: Path | None, found: list[Binaries]) -> str:
    remedy = f"run: apt-get install postgresql-{OLDEST_MAJOR}"
    if found:
        where = f"in {configured}" if configured else "installed"
        return f"PostgreSQL {found[0].major} {where} is too old, {OLDEST_MAJOR} or later is needed: {remedy}"
    return f"PostgreSQL's server is not installed: {remedy}, or name a server in database.url"


def _other_major(wanted: int, newest: Binaries) -> str:
    return (
        f"the database was made by PostgreSQL {wanted}, but {newest.directory} holds {newest.major}: "
        f"run: apt-get install postgresql-{wanted}; to move on, dump it with {wanted}'s pg_dumpall, "
        f"start with an empty directory and restore the dump with psql"
    )
