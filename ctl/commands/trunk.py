# SPDX-License-Identifier: GPL-3.0-or-later
"""How trunks stand, beside what they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from ctl.commands.objects import trunk
from ctl.terminal.session import Session, list_options
from ctl.terminal.table import Column

__all__ = ["trunk"]


def _addresses(row: Mapping[str, Any]) -> str | None:
    if not row["addresses"]:
        return row["error"] or None
    return ", ".join(each["address"] if each["up"] else f"{each['address']} down" for each in row["addresses"])


def _registered(row: Mapping[str, Any]) -> str | None:
    if row["registered"] is None:
        return None
    return "yes" if row["registered"] else row["error"] or "not yet"


COLUMNS = (
    Column("TRUNK", "name"),
    Column("DOMAIN", "domain"),
    Column("ADDRESSES", _addresses),
    Column("REGISTERED", _registered),
    Column("CALLS", "calls", right=True),
    Column("CHANNELS", "channels", right=True),
)


@trunk.command("status")
@click.argument("name", required=False)
@list_options
@click.pass_obj
def status(session: Session, name: str | None) -> None:
    """Show which trunks answer, are registered and carry calls: those of the configuration and of the database.

    One of the database is called TENANT/NAME, the tenant by its number.
    """
    session.show("trunk.status", COLUMNS, "trunk", name=name or "")
