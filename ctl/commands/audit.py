# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit: who changed what, and whether its chain holds."""

from __future__ import annotations

import click

from ctl.commands.objects import tenant_option
from ctl.exits import FAILED
from ctl.terminal.client import CommandError
from ctl.terminal.session import Session, json_option, list_options
from ctl.terminal.table import Column

COLUMNS = (
    Column("NUMBER", "sequence", right=True),
    Column("AT", lambda row: f"{row['at'][:19].replace('T', ' ')}Z"),
    Column("WHO", "actor"),
    Column("FROM", "address"),
    Column("DID", "action"),
    Column("KIND", "resource"),
    Column("OBJECT", "key"),
)


@click.group()
def audit() -> None:
    """Who changed what: list, verify."""


@audit.command("list")
@click.option("-n", "--count", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most")
@click.option("--kind", default="", help="Only of this kind, such as trunk")
@click.option("--object", "name", default="", help="Only of the object of this name")
@tenant_option
@list_options
@click.pass_obj
def list_(session: Session, count: int, kind: str, name: str, tenant: str) -> None:
    """List the newest entries, newest first; -j shows what each change was."""
    session.show("audit.list", COLUMNS, "entry", count=count, resource=kind, object=name, tenant=tenant)


@audit.command()
@tenant_option
@json_option
@click.pass_obj
def verify(session: Session, tenant: str) -> None:
    """Follow the chain of entries from its beginning."""
    found = session.ask("audit.verify", tenant=tenant)
    session.document(found)
    if found["broken"] is not None:
        raise CommandError(f"entry {found['broken']} was changed, or one before it is missing", FAILED)
