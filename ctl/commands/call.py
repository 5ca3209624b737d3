# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls, live."""

from __future__ import annotations

from typing import Any

import click

from ctl.session import Session, json_option
from ctl.table import Column

COLUMNS = (
    Column("ID", "id"),
    Column("STATE", "state"),
    Column("CALLER", "caller"),
    Column("DIALLED", "dialled"),
    Column("SECONDS", "seconds", right=True),
    Column("PATH", "path"),
    Column("PACKETS", "packets", right=True, unit="si"),
    Column("LOST", "lost", right=True),
)


@click.group()
def call() -> None:
    """Calls: list, show, hangup."""


@call.command("list")
@json_option
@click.pass_obj
def list_(session: Session) -> None:
    """List the calls that are up or being set up."""
    session.show("call.list", COLUMNS, "call")


@call.command()
@click.argument("identifier", metavar="ID")
@json_option
@click.pass_obj
def show(session: Session, identifier: str) -> None:
    """Show one call: both legs and its flows. ID: as listed, or a unique beginning of it."""
    answer: dict[str, Any] = session.ask("call.show", id=identifier)
    if session.as_json:
        session.document(answer)
        return
    flows = answer.pop("flows")
    session.document(answer)
    click.echo()
    from ctl.commands.flow import COLUMNS as FLOW_COLUMNS

    session.table(flows, FLOW_COLUMNS)


@call.command()
@click.argument("identifier", metavar="ID")
@click.pass_obj
def hangup(session: Session, identifier: str) -> None:
    """End one call on both legs."""
    click.echo(f"ended {session.ask('call.hangup', id=identifier)}")
