# SPDX-License-Identifier: GPL-3.0-or-later
"""Registrations: which contact of which user, seen from where, until when."""

from __future__ import annotations

import click

from ctl.terminal.session import Session, list_options
from ctl.terminal.table import Column

COLUMNS = (
    Column("USER", "user"),
    Column("CONTACT", "contact"),
    Column("RECEIVED", "received"),
    Column("EXPIRES", "expires", right=True),
    Column("Q", "q", right=True),
)


@click.group()
def reg() -> None:
    """Registrations: list."""


@reg.command("list")
@list_options
@click.pass_obj
def list_(session: Session) -> None:
    """List the contacts that are registered now; EXPIRES in seconds."""
    session.show("reg.list", COLUMNS, "registration")
