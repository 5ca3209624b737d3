# SPDX-License-Identifier: GPL-3.0-or-later
"""The long-running processes."""

from __future__ import annotations

import sys

import click

from ctl.exits import FAILED
from ctl.terminal.client import CommandError
from ctl.terminal.session import Session


@click.command()
@click.pass_obj
def run(session: Session) -> None:
    """Run the controller until SIGTERM or SIGINT; the calls that live then go on without it."""
    from ctl.daemon import StartError, serve

    try:
        serve(session.path)
    except StartError as error:
        raise CommandError(str(error), FAILED) from None


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def engine(arguments: tuple[str, ...]) -> None:
    """Run the userspace engine: voxdp engine --socket PATH. The controller does this itself where it is needed."""
    from media.process import main

    sys.exit(main(arguments))
