# SPDX-License-Identifier: GPL-3.0-or-later
"""Users: who may register and call. Passwords are read from standard input and stored as HA1 only."""

from __future__ import annotations

import sys

import click

from ctl.session import Session, list_options
from ctl.table import Column

COLUMNS = (
    Column("USER", "username"),
    Column("REALM", "realm"),
    Column("NAME", "display_name"),
    Column("ENABLED", lambda user: "yes" if user["enabled"] else "no"),
)


@click.group()
def user() -> None:
    """Users: add, list, password, enable, disable, delete."""


@user.command("list")
@list_options
@click.pass_obj
def list_(session: Session) -> None:
    """List the users."""
    session.show("user.list", COLUMNS, "user")


@user.command()
@click.argument("name")
@click.option("--display-name", default="", help="Name to show")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input without asking")
@click.pass_obj
def add(session: Session, name: str, display_name: str, password_stdin: bool) -> None:
    """Add a user of our domain."""
    password = _password(password_stdin)
    session.ask("user.add", username=name, display_name=display_name, password=password)
    click.echo(f"added {name}")


@user.command()
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input without asking")
@click.pass_obj
def password(session: Session, name: str, password_stdin: bool) -> None:
    """Give a user another password."""
    session.ask("user.password", username=name, password=_password(password_stdin))
    click.echo(f"changed the password of {name}")


@user.command()
@click.argument("name")
@click.pass_obj
def enable(session: Session, name: str) -> None:
    """Let a user register and call again."""
    session.ask("user.enable", username=name, enabled=True)
    click.echo(f"enabled {name}")


@user.command()
@click.argument("name")
@click.pass_obj
def disable(session: Session, name: str) -> None:
    """Keep a user, but let it neither register nor call."""
    session.ask("user.enable", username=name, enabled=False)
    click.echo(f"disabled {name}")


@user.command()
@click.argument("name")
@click.confirmation_option("--yes", prompt="Delete this user?")
@click.pass_obj
def delete(session: Session, name: str) -> None:
    """Delete a user; its call records stay."""
    session.ask("user.delete", username=name)
    click.echo(f"deleted {name}")


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    answer: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return answer
