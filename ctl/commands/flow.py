# SPDX-License-Identifier: GPL-3.0-or-later
"""Media flows: one for each direction of each stream, where it runs and how it fares."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from ctl.terminal.flow_columns import ALIASES, COLUMNS
from ctl.terminal.session import Session, json_option, list_options
from ctl.terminal.table import counted

CLEAR = "\x1b[H\x1b[J"
MARKS = {True: "ok", False: "FAILS", None: "-"}


@click.group()
def flow() -> None:
    """Media flows: list, show, watch, explain."""


@flow.command("list")
@click.option("--call", default="", metavar="ID", help="Only those of one call")
@list_options
@click.pass_obj
def list_(session: Session, call: str) -> None:
    """List the flows: how they fare, where they run, and why.

    PPS, LOSS% and MOS are of the last five seconds, RTT is from end to end; a dash is what was not measured.
    """
    session.show("flow.list", COLUMNS, "flow", ALIASES, call=call)


@flow.command()
@click.argument("identifier", metavar="ID")
@json_option
@click.pass_obj
def show(session: Session, identifier: str) -> None:
    """Show one flow in full. ID: relay address and port, as listed."""
    session.document(session.ask("flow.show", id=identifier))


@flow.command()
@click.option("-w", "--watch", "interval", type=click.FloatRange(min=0.1), default=1.0, help="Seconds between")
@click.option("-n", "--count", type=click.IntRange(min=1), help="Stop after this many")
@click.option("--call", default="", metavar="ID", help="Only those of one call")
@list_options
@click.pass_obj
def watch(session: Session, interval: float, count: int | None, call: str) -> None:
    """List the flows again and again; -j: one document a line."""
    shown = 0
    while count is None or shown < count:
        if shown:
            time.sleep(interval)
        _draw(session, session.chosen(session.ask("flow.list", call=call), ALIASES))
        shown += 1


@flow.command()
@click.argument("identifier", metavar="ID")
@json_option
@click.pass_obj
def explain(session: Session, identifier: str) -> None:
    """Say why a flow runs where it does, and why it is silent.

    ID: of a flow, as listed, or of a call: all its media.
    """
    found = session.ask("flow.explain", id=identifier)
    if session.as_json:
        session.document(found)
        return
    click.echo("\n".join(_explained(each) for each in found), nl=False)


def _explained(found: dict[str, Any]) -> str:
    width = max(len(check["name"]) for check in found["checks"])
    lines = [
        f"{found['id']}  {found['kind']} from leg {found['leg']} of call {found['call']}",
        f"  {found['why']}",
        f"  {found['cause'].replace('_', ' ')}: {found['text']}",
        *([f"  {found['remedy']}"] if found["remedy"] else []),
        *(f"    {check['name']:<{width}}  {MARKS[check['holds']]:<5}  {check['text']}" for check in found["checks"]),
    ]
    return "".join(f"{line}\n" for line in lines)


def _draw(session: Session, flows: list[dict[str, Any]]) -> None:
    if session.as_json:
        session.document({"flows": flows})
        return
    clear = CLEAR if sys.stdout.isatty() else ""
    sys.stdout.write(f"{clear}{time.strftime('%H:%M:%S')}  {counted(len(flows), 'flow')}\n")
    session.table(flows, COLUMNS)
    sys.stdout.flush()
