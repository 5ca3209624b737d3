# SPDX-License-Identifier: GPL-3.0-or-later
"""Signalling as a whole."""

from __future__ import annotations

import click

from ctl.terminal.session import Session, json_option


@click.group()
def sip() -> None:
    """Signalling: status, reload, drain."""


@sip.command()
@json_option
@click.pass_obj
def status(session: Session) -> None:
    """Show what is listened on, and how many connections, calls and transactions there are."""
    session.document(session.ask("sip.status"))


@sip.command()
@click.pass_obj
def reload(session: Session) -> None:
    """Read certificates and keys anew; no connection is lost."""
    click.echo(session.ask("sip.reload"))


@sip.command()
@click.option("--end", is_flag=True, help="Take new calls again")
@click.pass_obj
def drain(session: Session, end: bool) -> None:
    """Take no new calls, and say so to load balancers; calls that are up go on."""
    click.echo(session.ask("sip.drain", end=end))
