# SPDX-License-Identifier: GPL-3.0-or-later
"""Users: who may register and call. Passwords are read from standard input, never from the command line."""

from __future__ import annotations

import sys

import click

from ctl.commands.objects import KINDS, fields, make_group, tenant_option
from ctl.exits import USAGE
from ctl.terminal.client import CommandError
from ctl.terminal.session import Session

user = make_group("user", KINDS["user"], without=("add",))

stdin_option = click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input without asking"
)


@user.command()
@click.argument("name")
@click.argument("values", metavar="[FIELD=VALUE]...", nargs=-1)
@click.option("--display-name", default="", help="Name to show")
@stdin_option
@tenant_option
@click.pass_obj
def add(
    session: Session, name: str, values: tuple[str, ...], display_name: str, password_stdin: bool, tenant: str
) -> None:
    """Add a user."""
    given = {"display_name": display_name, **fields(values), "password": ask_password(password_stdin)}
    session.ask("user.add", key=name, tenant=tenant, values=given)
    click.echo(f"added {name}")


@user.command()
@click.argument("name")
@stdin_option
@tenant_option
@click.pass_obj
def password(session: Session, name: str, password_stdin: bool, tenant: str) -> None:
    """Give a user another password."""
    session.ask("user.set", key=name, tenant=tenant, values={"password": ask_password(password_stdin)})
    click.echo(f"changed the password of {name}")


@user.command()
@click.argument("name")
@tenant_option
@click.pass_obj
def enable(session: Session, name: str, tenant: str) -> None:
    """Let a user register and call again."""
    session.ask("user.set", key=name, tenant=tenant, values={"enabled": True})
    click.echo(f"enabled {name}")


@user.command()
@click.argument("name")
@tenant_option
@click.pass_obj
def disable(session: Session, name: str, tenant: str) -> None:
    """Keep a user, but let it neither register nor call."""
    session.ask("user.set", key=name, tenant=tenant, values={"enabled": False})
    click.echo(f"disabled {name}")


def ask_password(from_stdin: bool) -> str:
    """Return a password from standard input, or from a terminal where it is asked for twice.

    Raises CommandError where there is neither.
    """
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise CommandError("no terminal to ask for a password at; pipe it in with --password-stdin", USAGE)
    answer: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return answer
