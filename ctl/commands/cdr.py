# SPDX-License-Identifier: GPL-3.0-or-later
"""Call detail records: what remains of a call."""

from __future__ import annotations

import csv
import sys
from typing import Any

import click

from ctl.terminal.flow_columns import LOSS, RTT, number
from ctl.terminal.session import Session, json_option, list_options
from ctl.terminal.table import Column

COLUMNS = (
    Column("STARTED", lambda record: _moment(record["started_at"]), keep=9),
    Column("CALLER", "caller", keep=9),
    Column("DIALLED", "dialled", keep=9),
    Column("SECONDS", "talk_seconds", right=True, keep=8),
    Column("SIP", "sip_status", right=True, keep=7, style=lambda record: "red" if record["sip_status"] >= 400 else ""),
    Column("Q.850", "q850_cause", right=True, keep=4),
    Column("WHY", "reason", keep=6),
    Column("ENDED BY", "ended_by", keep=3),
    Column("CALL", "call", unit="id", keep=8),
    Column("PATH", "path", keep=5),
    Column(
        "PACKETS", lambda record: sum(each["packets"] for each in record["directions"]), right=True, unit="si", keep=2
    ),
    Column("LOST", lambda record: sum(each["lost"] for each in record["directions"]), right=True, keep=1),
    Column("MOS", lambda record: _worst(record["directions"]), right=True, keep=6),
)
DIRECTION_COLUMNS = (
    Column("FROM LEG", "sender", keep=10),
    Column("CODEC", "codec"),
    Column("PATH", "path"),
    Column("PACKETS", "packets", right=True, unit="si"),
    Column("LOST", "lost", right=True, unit="si"),
    LOSS,
    Column("JITms", "jitter_max_ms", right=True, keep=7),
    RTT,
    Column("GAPms", "largest_gap_ms", right=True, keep=5),
    Column("MOS", number("mos_avg", 2), right=True, keep=8),
    Column("LEAST", number("mos_min", 2), right=True, keep=6),
)


@click.group()
def cdr() -> None:
    """Call detail records: list, show, export."""


@cdr.command("list")
@click.option("-n", "--count", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most")
@click.option("--user", default="", help="Only calls from or to this user")
@list_options
@click.pass_obj
def list_(session: Session, count: int, user: str) -> None:
    """List the newest records, newest first."""
    session.show("cdr.list", COLUMNS, "record", count=count, user=user)


@cdr.command()
@click.argument("identifier", metavar="ID")
@json_option
@click.pass_obj
def show(session: Session, identifier: str) -> None:
    """Show one record: how the call went, and each direction. ID: a beginning of the call's id, or a leg's Call-ID."""
    session.document_and_table(session.ask("cdr.show", id=identifier), "directions", DIRECTION_COLUMNS)


@cdr.command()
@click.option("-n", "--count", type=click.IntRange(1, 50_000), default=1000, show_default=True, help="Calls at most")
@click.option("--user", default="", help="Only calls from or to this user")
@json_option
@click.pass_obj
def export(session: Session, count: int, user: str) -> None:
    """Write the newest records as CSV, a line for each leg; with -j as JSON."""
    legs = session.ask("cdr.legs", count=count, user=user)
    if session.as_json:
        session.document(legs)
        return
    from provisioning.cells import safe_cell

    writer = csv.writer(sys.stdout, lineterminator="\n")
    for place, leg in enumerate(legs):
        if place == 0:
            writer.writerow(leg)
        writer.writerow(map(safe_cell, leg.values()))


def _worst(directions: list[dict[str, Any]]) -> str | None:
    """The mean MOS of the direction that had it worst."""
    known = [each["mos_avg"] for each in directions if each["mos_avg"] is not None]
    return f"{min(known):.2f}" if known else None


def _moment(stamp: str) -> str:
    """UTC to the second, in fewer letters than ISO 8601 has; with -j it is whole."""
    return f"{stamp[:19].replace('T', ' ')}Z"
