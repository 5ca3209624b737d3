# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings that are kept: they are opened here, by the key, and need no controller."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from ctl.exits import FAILED, NOT_FOUND, USAGE
from ctl.terminal.client import CommandError
from ctl.terminal.session import Session, json_option, list_options
from ctl.terminal.table import Column

if TYPE_CHECKING:
    from media.recording_export import Exported

COLUMNS = (
    Column("ID", "id", unit="id", keep=10),
    Column("KEPT", "kept", keep=9),
    Column("BYTES", "bytes", right=True, unit="si", keep=5),
)


@click.group()
def recording() -> None:
    """Recordings: list, export, verify."""


@recording.command("list")
@list_options
@click.pass_obj
def list_(session: Session) -> None:
    """List the recordings that are kept, the newest first."""
    from media.recording_store import stored

    with told():
        found = sorted(stored(_store(session)), key=lambda each: each.modified, reverse=True)
    rows: list[Any] = [{"id": str(each.id), "kept": _moment(each.modified), "bytes": each.bytes} for each in found]
    if session.as_json:
        session.document(session.chosen(rows))
    else:
        session.table(session.chosen(rows), COLUMNS)


@recording.command()
@click.argument("identifier", metavar="ID")
@click.option("-w", "--write", "target", required=True, metavar="FILE", help="Where to; - is standard output")
@click.pass_obj
def export(session: Session, identifier: str, target: str) -> None:
    """Decrypt a recording into a file that can be played: WAV, or Opus in Ogg."""
    opened = _opened(session, identifier)
    if target == "-":
        sys.stdout.buffer.write(opened.sound)
        return
    try:
        Path(target).write_bytes(opened.sound)
    except OSError as error:
        raise CommandError(f"{target}: {error.strerror}", FAILED) from None
    if not opened.complete:
        click.echo("the recording was cut short; what there was of it has been written", err=True)


@recording.command()
@click.argument("identifier", metavar="ID")
@json_option
@click.pass_obj
def verify(session: Session, identifier: str) -> None:
    """Check every piece of a recording, and tell what is known of it. Fails where it was changed or cut short."""
    opened = _opened(session, identifier)
    session.document(
        {
            "id": opened.id,
            "tenant": opened.tenant,
            **opened.about,
            "seconds": opened.seconds,
            "complete": opened.complete,
            **(opened.ending or {}),
        }
    )
    if not opened.complete:
        raise CommandError("the recording was cut short; every piece that is there is as it was written", FAILED)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def recorder(arguments: tuple[str, ...]) -> None:
    """Run the recorder: voxdp recorder --socket PATH ... The controller does this itself where it is needed."""
    from ctl.recording.recorder import main

    sys.exit(main(arguments))


@contextmanager
def told() -> Iterator[None]:
    """What cannot be done is told in one line."""
    from media.recording_settings import RecorderError
    from media.sealed import SealedError

    try:
        yield
    except (RecorderError, SealedError) as error:
        unknown = getattr(error, "code", "") == "unknown"
        raise CommandError(str(error), NOT_FOUND if unknown else FAILED) from None


def _store(session: Session) -> Any:
    from ctl.config import load
    from ctl.recording.paths import store_url
    from media.recording_store import open_store

    return open_store(store_url(load(session.path)))


def _opened(session: Session, identifier: str) -> Exported:
    from ctl.config import load
    from media.recorder_process import read_keys
    from media.recording_export import export as open_sealed
    from media.recording_store import fetch
    from media.sealed import Keys

    try:
        wanted = UUID(identifier)
    except ValueError:
        raise CommandError(f"{identifier} is no id of a recording; see: voxdp recording list", USAGE) from None
    section = load(session.path).recording
    with told():
        keys = Keys.parse(section.key.get_secret_value()) if section.key else read_keys(section.key_file)
        return open_sealed(fetch(_store(session), wanted), keys)


def _moment(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
