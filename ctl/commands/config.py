# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration as the controller would read it."""

from __future__ import annotations

from typing import Any

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
        session.document(_as_written(section))
        click.echo()


def _as_written(value: Any) -> Any:
    """Return the value with true and false as the file has them."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return {key: _as_written(each) for key, each in value.items()}
    return [*map(_as_written, value)] if isinstance(value, list) else value
