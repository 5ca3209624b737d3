# SPDX-License-Identifier: GPL-3.0-or-later
"""The database: its schema. The controller brings it up to date by itself; these are for those who look first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ctl.exits import FAILED, UNREACHABLE
from ctl.terminal.client import CommandError
from ctl.terminal.session import Session, json_option
from ctl.terminal.table import Column

COLUMNS = (
    Column("VERSION", "version", right=True),
    Column("NAME", "name"),
    Column("APPLIED", "applied"),
)


@click.group()
def db() -> None:
    """The database: migrate, status, backup, restore, purge, rotate-key."""


@db.command()
@click.pass_obj
def migrate(session: Session) -> None:
    """Apply the migrations that are missing."""
    from provisioning.migrate import migrate as apply

    applied = _with_database(session, apply)
    click.echo(f"applied {', '.join(applied)}" if applied else "the schema is up to date")


@db.command("status")
@json_option
@click.pass_obj
def status_(session: Session) -> None:
    """List the migrations and when each was applied."""
    from provisioning.migrate import status

    states = _with_database(session, status)
    rows = [
        {"version": each.version, "name": each.name, "applied": each.applied.isoformat() if each.applied else None}
        for each in states
    ]
    if session.as_json:
        session.document(rows)
    else:
        session.table(rows, COLUMNS)


@db.command("rotate-key")
@click.pass_obj
def rotate_key(session: Session) -> None:
    """Seal every secret in the database with a new key, and forget the old one."""
    click.echo(f"sealed {session.ask('db.rotate-key')} secrets with a new key")


@db.command()
@json_option
@click.pass_obj
def purge(session: Session) -> None:
    """Delete and forget now what the tenants' policies do not keep; the controller does so every hour."""
    session.document(session.ask("db.purge"))


@db.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_obj
def backup(session: Session, file: Path) -> None:
    """Write the whole database into a file, while it is used. Keep the key file too, and apart."""
    from provisioning.backup import backup as write

    binaries = _binaries(session)
    size = _with_database(session, lambda conninfo: write(conninfo, file, binaries))
    click.echo(f"wrote {size} bytes to {file}")


@db.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.confirmation_option("--yes", prompt="Replace everything in the database?")
@click.pass_obj
def restore(session: Session, file: Path) -> None:
    """Replace everything in the database by a backup, and bring it up to date. The controller must not run."""
    from provisioning.backup import restore as read
    from provisioning.migrate import migrate as apply

    if _controller_runs(session):
        raise CommandError("the controller runs; stop it first", FAILED)
    binaries = _binaries(session)

    def work(conninfo: str) -> list[str]:
        read(conninfo, file, binaries)
        return apply(conninfo)

    applied = _with_database(session, work)
    click.echo(f"restored {file}" + (f", then applied {', '.join(applied)}" if applied else ""))


def _controller_runs(session: Session) -> bool:
    try:
        session.ask("tenant.list")
    except CommandError as error:
        return error.code != UNREACHABLE
    return True


def _binaries(session: Session) -> Any:
    """Return the programs of PostgreSQL: of the version that made the embedded database, where it is that."""
    from ctl.config import load
    from provisioning.binaries import find_binaries
    from provisioning.cluster import Cluster
    from provisioning.errors import ProvisioningError

    database = load(session.path).database
    try:
        wanted = None if database.url else Cluster(database.directory.absolute()).major()
        return find_binaries(database.binaries, wanted)
    except ProvisioningError as error:
        raise CommandError(str(error), FAILED) from None


def _with_database(session: Session, work: Any) -> Any:
    """Do `work` on the configured server; on the embedded one as it runs, or else started for this."""
    import asyncio

    from ctl.config import load
    from provisioning.embedded import EmbeddedPostgres
    from provisioning.errors import DatabaseUnavailable, ProvisioningError

    database = load(session.path).database
    embedded = EmbeddedPostgres(database.directory, os_user=database.os_user, binaries=database.binaries)

    async def on_embedded() -> Any:
        async with embedded as conninfo:
            return work(conninfo)

    try:
        if database.url:
            return work(database.url)
        try:
            return work(embedded.conninfo)
        except DatabaseUnavailable:
            return asyncio.run(on_embedded())
    except ProvisioningError as error:
        raise CommandError(str(error), FAILED) from None
