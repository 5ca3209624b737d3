# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts of the API. Passwords are read from standard input, never from the command line."""

from __future__ import annotations

import click

from ctl.commands.objects import fields, make_group, tenant_option
from ctl.commands.user import ask_password, stdin_option
from ctl.terminal.session import Session
from ctl.terminal.table import Column

COLUMNS = (
    Column("ACCOUNT", "username"),
    Column("ROLE", "role"),
    Column("NAME", "display_name"),
    Column("ENABLED", lambda row: "yes" if row["enabled"] else "no"),
)

account = make_group("account", ("account", COLUMNS), without=("add",))


@account.command()
@click.argument("name")
@click.argument("values", metavar="[FIELD=VALUE]...", nargs=-1)
@stdin_option
@tenant_option
@click.pass_obj
def add(session: Session, name: str, values: tuple[str, ...], password_stdin: bool, tenant: str) -> None:
    """Add an account: role=viewer, operator, admin or platform."""
    given = {**fields(values), "password": ask_password(password_stdin)}
    session.ask("account.add", key=name, tenant=tenant, values=given)
    click.echo(f"added {name}")


@account.command()
@click.argument("name")
@stdin_option
@tenant_option
@click.pass_obj
def password(session: Session, name: str, password_stdin: bool, tenant: str) -> None:
    """Give an account another password, which ends its sessions."""
    session.ask("account.set", key=name, tenant=tenant, values={"password": ask_password(password_stdin)})
    click.echo(f"changed the password of {name}")
