# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel relay: attach, detach, and what is there."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from ctl.exits import FAILED, NOT_FOUND
from ctl.terminal.client import CommandError
from ctl.terminal.session import Session, json_option
from ctl.terminal.table import Column

INTERFACE_COLUMNS = (
    Column("INTERFACE", "name"),
    Column("DRIVER", "driver"),
    Column("QUEUES", "queues", right=True),
    Column("MODE", "mode"),
    Column("PROGRAM", lambda each: each["program_name"]),
    Column("ID", "program_id", right=True),
    Column("TAG", "program_tag"),
    Column("OURS", lambda each: "yes" if each["ours"] else "no"),
)
MAP_COLUMNS = (
    Column("MAP", "name"),
    Column("ID", "id", right=True),
    Column("ENTRIES", "max_entries", right=True),
    Column("BYTES", "memory", right=True, unit="si"),
)
REASON_COLUMNS = (
    Column("VERDICT", "reason"),
    Column("PACKETS", "packets", right=True, unit="si"),
    Column("BYTES", "bytes", right=True, unit="si"),
)


@click.command()
@click.pass_obj
def attach(session: Session) -> None:
    """Load the kernel relay, pin it and attach it; again: upgrade it in place, without losing a packet."""
    from ctl.config import load
    from ctl.kernel.attaching import attach_settings, start_opener, steer
    from ctl.kernel.loader import AttachError
    from ctl.kernel.loader import attach as put
    from ctl.network.media_interfaces import DataPlaneError
    from ctl.network.nexthop import NextHops
    from media.flows import EngineError

    config, hops = load(session.path), NextHops()
    try:
        settings = attach_settings(config, hops)
        report = put(settings)
        steered = steer(config)
        opener, opened = start_opener(config, settings)
    except (AttachError, DataPlaneError, EngineError, OSError) as error:
        raise CommandError(str(error), FAILED) from None
    finally:
        hops.close()
    for name in report.attached:
        click.echo(f"attached to {name} ({report.mode}, program {report.program_id}, tag {report.tag})")
    for name in report.upgraded:
        click.echo(f"upgraded on {name} ({report.mode}, program {report.program_id}, tag {report.tag})")
    for name in report.removed:
        click.echo(f"removed from {name}")
    if report.taken_over is not None:
        click.echo(f"flows of layout {report.taken_over} taken over; start voxdp run of this version now")
    if steered:
        click.echo(f"datagrams of signalling go to {config.sip.workers} workers by Call-ID")
    if opener:
        click.echo(f"{opened} for the engine are opened by process {opener}")


@click.command()
@click.pass_obj
def detach(session: Session) -> None:
    """Take the relay off all interfaces and remove what is pinned; flows that live end."""
    from ctl.config import load
    from ctl.kernel import steering
    from ctl.kernel.loader import AttachError
    from ctl.kernel.loader import detach as take
    from media import opener_process
    from media.wire_opener import OPENER_SOCKET

    config = load(session.path)
    try:
        opener_process.stop(config.run.directory / OPENER_SOCKET)
        report = take(config.xdp.bpffs, config.run.directory)
        steering.unpin(config.xdp.bpffs)
    except (AttachError, OSError) as error:
        raise CommandError(str(error), FAILED) from None
    click.echo(f"detached from {', '.join(report.interfaces)}" if report.interfaces else "nothing was attached")


@click.group()
def xdp() -> None:
    """The kernel relay: status."""


@xdp.command("status")
@json_option
@click.pass_obj
def status_(session: Session) -> None:
    """Show interfaces, program, maps, and packets by verdict."""
    found = _status(session)
    if session.as_json:
        session.document(found)
        return
    session.table(found["interfaces"], INTERFACE_COLUMNS)
    if found["program"] is None:
        raise CommandError("the kernel relay is not loaded; run: sudo voxdp attach", NOT_FOUND)
    click.echo()
    loaded = {"loaded_at": datetime.fromtimestamp(found["program"]["loaded_at"]).isoformat(" ", "seconds")}
    known = {"pins": found["pin_dir"], **found["config"], "flows": found["flows"]}
    session.document({**found["program"], **loaded, **known})
    click.echo()
    session.table(found["maps"], MAP_COLUMNS)
    click.echo()
    session.table([row for row in found["reasons"] if row["packets"]], REASON_COLUMNS)


def _status(session: Session) -> dict[str, Any]:
    from dataclasses import asdict

    from ctl.config import load
    from ctl.kernel.libbpf import BpfError
    from ctl.kernel.loader import status

    config = load(session.path)
    try:
        found = asdict(status(config.xdp.bpffs, config.xdp.interfaces))
    except BpfError as error:
        raise CommandError(str(error), FAILED) from None
    found["pin_dir"] = str(found["pin_dir"])
    found["reasons"] = [{"reason": name, **count} for name, count in found["reasons"].items()]
    return found
