# SPDX-License-Identifier: GPL-3.0-or-later
"""The database: its schema. The controller brings it up to date by itself; these are for those who look first."""

from __future__ import annotations

from typing import Any

import click

from ctl.client import CommandError
from ctl.exits import FAILED
from ctl.session import Session, json_option
from ctl.table import Column

COLUMNS = (
    Column("VERSION", "version", right=True),
    Column("NAME", "name"),
    Column("APPLIED", "applied"),
)


@click.group()
def db() -> None:
    """The database: migrate, status, rotate-key."""


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
