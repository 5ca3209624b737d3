# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls, live."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ctl.commands import call_media
from ctl.terminal.flow_columns import ALIASES, JITTER, LOSS, MOS, PATH, RTT
from ctl.terminal.flow_columns import COLUMNS as FLOW_COLUMNS
from ctl.terminal.session import Session, json_option, list_options
from ctl.terminal.table import Column

Command = TypeVar("Command", bound=Callable[..., Any])

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
    """Calls: list, show, hangup, transfer, hold, resume, record, play, stop-media, dtmf, block, unblock."""


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
    session.document_and_table(session.ask("call.show", id=identifier), "flows", FLOW_COLUMNS)


@call.command()
@click.argument("identifier", metavar="ID")
@click.pass_obj
def hangup(session: Session, identifier: str) -> None:
    """End one call on both legs."""
    click.echo(f"ended {session.ask('call.hangup', id=identifier)}")


def _leg_option(text: str) -> Callable[[Command], Command]:
    return click.option("--leg", type=click.Choice(["a", "b"]), default="a", show_default=True, help=text)


@call.command()
@click.argument("identifier", metavar="ID")
@click.argument("target")
@_leg_option("Who is sent on: the caller, or b, who was called")
@json_option
@click.pass_obj
def transfer(session: Session, identifier: str, target: str, leg: str) -> None:
    """Send one party of a call on to TARGET, dialled as its tenant dials; the other one is hung up on the answer."""
    session.document(session.ask("call.transfer", id=identifier, target=target, leg=leg))


@call.command()
@click.argument("identifier", metavar="ID")
@_leg_option("Who hears music: the caller, or b, who was called")
@click.pass_obj
def hold(session: Session, identifier: str, leg: str) -> None:
    """Let neither party of a call hear the other one."""
    click.echo(f"on hold {session.ask('call.hold', id=identifier, leg=leg)}")


@call.command()
@click.argument("identifier", metavar="ID")
@click.pass_obj
def resume(session: Session, identifier: str) -> None:
    """End a hold."""
    click.echo(f"resumed {session.ask('call.resume', id=identifier)}")


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


for each in call_media.COMMANDS:
    call.add_command(each)
