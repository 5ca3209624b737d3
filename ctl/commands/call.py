# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls, live."""

from __future__ import annotations

from typing import Any

import click

from ctl.terminal.flow_columns import ALIASES, JITTER, LOSS, MOS, PATH, RTT
from ctl.terminal.flow_columns import COLUMNS as FLOW_COLUMNS
from ctl.terminal.session import Session, json_option, list_options
from ctl.terminal.table import Column

COLUMNS = (
    Column("ID", "id", unit="id", keep=10),
    Column("STATE", "state", keep=7),
    Column("CALLER", "caller", keep=9),
    Column("DIALLED", "dialled", keep=9),
    Column("SECONDS", "seconds", right=True, keep=8),
    Column("CODEC", "codec", keep=5),
    PATH,
    Column("PACKETS", "packets", right=True, unit="si", keep=2),
    Column("LOST", "lost", right=True, keep=1),
    LOSS,
    JITTER,
    RTT,
    MOS,
)
"""The figures of quality are those of the worst direction."""


@click.group()
def call() -> None:
    """Calls: list, show, hangup, record."""


@call.command("list")
@list_options
@click.pass_obj
def list_(session: Session) -> None:
    """List the calls that are up or being set up."""
    session.show("call.list", COLUMNS, "call", ALIASES)


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
    session.table(flows, FLOW_COLUMNS)


@call.command()
@click.argument("identifier", metavar="ID")
@click.pass_obj
def hangup(session: Session, identifier: str) -> None:
    """End one call on both legs."""
    click.echo(f"ended {session.ask('call.hangup', id=identifier)}")


@call.command()
@click.argument("action", type=click.Choice(["start", "stop", "pause", "resume", "show"]))
@click.argument("identifier", metavar="ID")
@click.option("--layout", type=click.Choice(["stereo", "mixed", "a", "b"]), help="Which legs, in how many channels")
@click.option("--format", "form", type=click.Choice(["wav", "opus"]), help="WAV, or Opus in Ogg")
@click.option("--consent", type=click.Choice(["given", "announced"]), help="How the parties agreed to it")
@json_option
@click.pass_obj
def record(
    session: Session, action: str, identifier: str, layout: str | None, form: str | None, consent: str | None
) -> None:
    """Record a call. The call stays where it is; what is paused is left out."""
    answer = session.ask(
        "call.record", id=identifier, action=action, layout=layout or "", format=form or "", consent=consent or ""
    )
    session.document(answer)
