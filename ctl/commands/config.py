# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration as the controller would read it."""

from __future__ import annotations

import click

from ctl.terminal.session import Session, json_option


@click.group()
def config() -> None:
    """The configuration: check, show."""


@config.command()
@click.pass_obj
def check(session: Session) -> None:
    """Read the file and the environment and say what is wrong, if anything is."""
    from ctl.config import load

    load(session.path)
    click.echo("the configuration is right")


@config.command()
@json_option
@click.pass_obj
def show(session: Session) -> None:
    """Show every key with its value, defaults included; passwords in URLs are hidden."""
    from ctl.config import load, redacted

    tables = redacted(load(session.path))
    if session.as_json:
        session.document(tables)
        return
    for name, section in tables.items():
        click.echo(f"[{name}]")
        session.document(section)
        click.echo()
