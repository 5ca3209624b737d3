# SPDX-License-Identifier: GPL-3.0-or-later
"""Media flows: one for each direction of each stream, where it runs and how it fares."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from ctl.session import Session, json_option
from ctl.table import Column, counted, render

COLUMNS = (
    Column("ID", "id"),
    Column("CALL", lambda flow: flow["call"][:8]),
    Column("KIND", "kind"),
    Column("CODEC", "codec"),
    Column("FROM", lambda flow: _endpoint(flow["source"])),
    Column("RELAY", lambda flow: f"{_endpoint(flow['local'])} > {_endpoint(flow['egress'])}"),
    Column("TO", lambda flow: _endpoint(flow["target"])),
    Column("PATH", "path"),
    Column("STATE", "state"),
    Column("PACKETS", "packets", right=True, unit="si"),
    Column("LOST", "lost", right=True),
    Column("JITTER", lambda flow: _milliseconds(flow["jitter_ms"]), right=True),
    Column("REJECTED", "rejected", right=True),
    Column("WHY", "reason"),
)
RATE = Column("PACKETS/S", "rate", right=True)
WATCH_COLUMNS = (*COLUMNS[:9], RATE, *COLUMNS[9:])
CLEAR = "\x1b[H\x1b[J"


@click.group()
def flow() -> None:
    """Media flows: list, show, watch."""


@flow.command("list")
@click.option("--call", default="", metavar="ID", help="Only those of one call")
@json_option
@click.pass_obj
def list_(session: Session, call: str) -> None:
    """List the flows with their path and the reason for it."""
    session.show("flow.list", COLUMNS, "flow", call=call)


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
@json_option
@click.pass_obj
def watch(session: Session, interval: float, count: int | None, call: str) -> None:
    """Show the flows again and again, with packets a second; with -j one JSON document a line."""
    before: dict[str, int] = {}
    then = time.monotonic()
    shown = 0
    while count is None or shown < count:
        if shown:
            time.sleep(interval)
        flows = session.ask("flow.list", call=call)
        now = time.monotonic()
        _add_rates(flows, before, now - then)
        before, then = {each["id"]: each["packets"] for each in flows}, now
        _draw(session, flows)
        shown += 1


def _add_rates(flows: list[dict[str, Any]], before: dict[str, int], seconds: float) -> None:
    for each in flows:
        known = before.get(each["id"])
        each["rate"] = None if known is None else round((each["packets"] - known) / seconds)


def _draw(session: Session, flows: list[dict[str, Any]]) -> None:
    if session.as_json:
        session.document({"flows": flows})
        return
    human = sys.stdout.isatty()
    stamp = time.strftime("%H:%M:%S")
    head = f"{CLEAR if human else ''}{stamp}  {counted(len(flows), 'flow')}\n"
    sys.stdout.write(head + render(flows, WATCH_COLUMNS, header=session.header, human=human))
    sys.stdout.flush()


def _endpoint(endpoint: dict[str, Any] | None) -> str:
    if not endpoint:
        return "-"
    return f"{endpoint['address']}:{endpoint['port'] or 'learning'}"


def _milliseconds(value: float | None) -> str | None:
    return None if value is None else f"{value:.1f} ms"
