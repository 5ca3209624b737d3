# SPDX-License-Identifier: GPL-3.0-or-later
"""The long-running processes."""

from __future__ import annotations

import signal
import sys

import click

from ctl.exits import FAILED
from ctl.terminal.client import CommandError
from ctl.terminal.session import Session


@click.command()
@click.pass_obj
def run(session: Session) -> None:
    """Run the controller until SIGTERM or SIGINT; the calls that live then go on without it."""
    _outlive_peers()
    from ctl.compiled.loader import load

    load()
    from ctl.daemon import StartError, serve

    try:
        serve(session.path)
    except StartError as error:
        raise CommandError(str(error), FAILED) from None


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def engine(arguments: tuple[str, ...]) -> None:
    """Run the userspace engine: voxdp engine --socket PATH. The controller does this itself where it is needed."""
    _outlive_peers()
    from media.process import main

    sys.exit(main(arguments))


@click.command()
@click.pass_obj
def xsk(session: Session) -> None:
    """Open AF_XDP sockets for the engine, which may not: as root, or with CAP_NET_RAW alone. Runs until SIGTERM.

    As root also /dev/cpu_dma_latency, where media.cpu_dma_latency is set. In place of the process that `voxdp attach`
    leaves behind for this, where it is to be a service of its own.
    """
    _outlive_peers()
    from ctl.config import load
    from ctl.kernel.attaching import attach_settings, opener_settings
    from ctl.network.media_interfaces import DataPlaneError
    from ctl.network.nexthop import NextHops
    from media.wire_opener import main

    config, hops = load(session.path), NextHops()
    try:
        settings = opener_settings(config, attach_settings(config, hops))
    except DataPlaneError as error:
        raise CommandError(str(error), FAILED) from None
    finally:
        hops.close()
    sys.exit(main(settings))


def _outlive_peers() -> None:
    """Take a peer that has closed its connection for an error, not for the end, as is right for what only prints."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
