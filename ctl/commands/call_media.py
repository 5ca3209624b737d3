# SPDX-License-Identifier: GPL-3.0-or-later
"""What a leg of a call is made to hear, and what is kept from the other: verbs of `voxdp call`, and `voxdp sound`."""

from __future__ import annotations

from typing import Any

import click

from ctl.terminal.session import Session, json_option, list_options
from ctl.terminal.table import Column

LEG = click.Choice(["a", "b"])
WHAT = click.Choice(["media", "sound", "digits"])
SOUNDS = (Column("NAME", "name", keep=10), Column("MS", "ms", right=True, keep=9))
_to = click.option("--to", "leg", type=LEG, required=True, help="Who hears it: a called, b was called")
_from = click.option("--from", "leg", type=LEG, required=True, help="Whose: a called, b was called")


@click.command()
@click.argument("identifier", metavar="ID")
@click.argument("sounds", metavar="SOUND...", nargs=-1, required=True)
@_to
@click.option("--loop", is_flag=True, help="Until it is stopped")
@click.option("--times", type=click.IntRange(1), default=1, help="So often")
@click.option("--start", type=click.IntRange(0), default=0, metavar="MS", help="Leave out so much at the beginning")
@json_option
@click.pass_obj
def play(
    session: Session, identifier: str, sounds: tuple[str, ...], leg: str, loop: bool, times: int, start: int
) -> None:
    """Play to one leg, in place of what the other one says. SOUND: as in `voxdp sound list`; several in a row."""
    wanted = {"sounds": sounds, "times": 0 if loop else times, "start_ms": start}
    session.document(_ask(session, identifier, "play", leg, wanted))


@click.command("stop-media")
@click.argument("identifier", metavar="ID")
@_to
@json_option
@click.pass_obj
def stop_media(session: Session, identifier: str, leg: str) -> None:
    """End what is played to one leg."""
    session.document(_ask(session, identifier, "stop", leg, {}))


@click.command()
@click.argument("identifier", metavar="ID")
@click.argument("digits")
@_to
@click.option("--ms", type=click.IntRange(40, 8000), default=160, show_default=True, help="How long each lasts")
@click.option("--pause", type=click.IntRange(20, 8000), default=60, show_default=True, metavar="MS", help="Between two")
@click.option("--volume", type=click.IntRange(0, 63), default=10, show_default=True, help="-dBm0")
@json_option
@click.pass_obj
def dtmf(session: Session, identifier: str, digits: str, leg: str, ms: int, pause: int, volume: int) -> None:
    """Send digits to one leg, as telephone events or, where it has none, as tones."""
    wanted = {"digits": digits, "ms": ms, "pause_ms": pause, "volume": volume}
    session.document(_ask(session, identifier, "dtmf", leg, wanted))


@click.command()
@click.argument("identifier", metavar="ID")
@_from
@click.option("--what", type=WHAT, default="media", show_default=True, help="All, its sound, or its digits")
@json_option
@click.pass_obj
def block(session: Session, identifier: str, leg: str, what: str) -> None:
    """Keep from the other leg what one leg sends: all of it, its sound (silence is sent), or its digits."""
    session.document(_ask(session, identifier, "block", leg, {"what": what}))


@click.command()
@click.argument("identifier", metavar="ID")
@_from
@click.option("--what", type=WHAT, default="media", show_default=True, help="All, its sound, or its digits")
@json_option
@click.pass_obj
def unblock(session: Session, identifier: str, leg: str, what: str) -> None:
    """Let it through again."""
    session.document(_ask(session, identifier, "unblock", leg, {"what": what}))


COMMANDS = (play, stop_media, dtmf, block, unblock)


@click.group()
def sound() -> None:
    """Sounds that can be played: list."""


@sound.command("list")
@list_options
@click.pass_obj
def list_(session: Session) -> None:
    """List the sounds below media.prompts and the built-in ones; one that cannot be played has no length."""
    session.show("sound.list", SOUNDS, "sound")


def _ask(session: Session, identifier: str, action: str, leg: str, wanted: dict[str, Any]) -> Any:
    return session.ask("call.media", id=identifier, action=action, leg=leg, **wanted)
