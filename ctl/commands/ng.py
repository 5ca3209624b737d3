# SPDX-License-Identifier: GPL-3.0-or-later
"""`voxdp ng`: in rtpengine's place, by rtpengine's options."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from ctl.exits import FAILED, USAGE
from ctl.terminal.client import CommandError
from ctl.terminal.session import Session, json_option

OPTIONS = {"ignore_unknown_options": True, "help_option_names": ["-h", "--help"]}
FILE = "ng.toml"


class Ng(click.Group):
    """What is no command is an option of the one that runs the relay."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `run` before options that are rtpengine's."""
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(cls=Ng)
def ng() -> None:
    """A relay for proxies alone, by rtpengine's options and configuration file: run, config, ctl."""


@ng.command(context_settings=OPTIONS)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def run(session: Session, options: tuple[str, ...]) -> None:
    """Attach the kernel relay and serve the ng protocol: voxdp ng --interface=192.0.2.1 --listen-ng=2223.

    --config-file=FILE reads rtpengine's own file. What it made of it is left in the run directory, for other commands:
    voxdp -c /run/voxdp/ng.toml flow list.
    """
    from ctl.compiled.loader import load as load_compiled

    load_compiled()
    from ctl.config import load
    from ctl.daemon import StartError, serve
    from ctl.kernel.attaching import attach_settings
    from ctl.kernel.loader import AttachError, attach
    from ctl.network.media_interfaces import DataPlaneError
    from ctl.network.nexthop import NextHops

    path = _written(session, _tables(session, options))
    config, hops = load(path), NextHops()
    try:
        if config.xdp.mode != "off" and os.geteuid() == 0:
            attach(attach_settings(config, hops))
    except (AttachError, DataPlaneError, OSError) as error:
        raise CommandError(str(error), FAILED) from None
    finally:
        hops.close()
    try:
        serve(path)
    except StartError as error:
        raise CommandError(str(error), FAILED) from None


@ng.command(context_settings=OPTIONS)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def config(session: Session, options: tuple[str, ...]) -> None:
    """Print what rtpengine's options are in our configuration: voxdp ng config --config-file=/etc/rtpengine.conf."""
    from ctl.ng.migrate import as_toml

    for line in as_toml(_tables(session, options)):
        click.echo(line)


@ng.group()
def ctl() -> None:
    """What rtpengine-ctl shows: list, terminate."""


@ctl.command("list")
@click.argument("what", type=click.Choice(["numsessions", "sessions", "totals", "interfaces"]))
@json_option
@click.pass_obj
def list_(session: Session, what: str) -> None:
    """List numsessions, sessions, totals or interfaces."""
    found = session.ask("ng.list", what=what)
    if session.as_json:
        session.document(found)
        return
    for line in _lines(what, found):
        click.echo(line)


@ctl.command()
@click.argument("call_id")
@click.option("--yes", is_flag=True, help="With `all`: really end every call")
@click.pass_obj
def terminate(session: Session, call_id: str, yes: bool) -> None:
    """End a call by its call-id, or all of them."""
    if call_id == "all" and not yes:
        raise CommandError("this ends every call; say so: voxdp ng ctl terminate all --yes", USAGE)
    ended = session.ask("ng.terminate", call_id=call_id)
    click.echo(f"{ended} call{'s' * (ended != 1)} ended")


def _tables(session: Session, options: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """The tables; what has no effect is told on standard error."""
    from ctl.configfile import read_tables
    from ctl.ng.migrate import Unreadable, read_arguments, read_file, translate

    try:
        given = read_arguments(options)
        for name in given.pop("config-file", []):
            given = {**read_file(Path(name).read_text()), **given}
        translation = translate(given)
    except Unreadable as error:
        raise CommandError(str(error), USAGE) from None
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}", FAILED) from None
    for name, why in sorted(translation.ignored.items()):
        click.echo(f"ignored: {name}{f' ({why})' if why else ''}", err=True)
    ours = read_tables(session.path) if session.path else {}
    for section, keys in translation.tables.items():
        ours[section] = {**ours.get(section, {}), **keys}
    _attach_where_media_is(ours)
    return ours


def _attach_where_media_is(tables: dict[str, dict[str, Any]]) -> None:
    """The relay goes onto the interfaces that have the media addresses, unless others are named."""
    from ctl.network.nexthop import NextHops

    if tables.get("xdp", {}).get("interfaces"):
        return
    hops = NextHops()
    try:
        addresses = [each["address"] for each in tables.get("media", {}).get("interfaces", [])]
        devices = dict.fromkeys(filter(None, map(hops.interface_of, addresses)))
    finally:
        hops.close()
    tables.setdefault("xdp", {})["interfaces"] = list(devices)


def _written(session: Session, tables: dict[str, dict[str, Any]]) -> Path:
    from ctl.configfile import run_directory
    from ctl.ng.migrate import as_toml

    directory = Path(tables.get("run", {}).get("directory") or run_directory(session.path))
    path = directory / FILE
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in as_toml(tables)))
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", FAILED) from None
    return path


def _lines(what: str, found: Any) -> list[str]:
    if what == "sessions":
        return [
            f"callid: {each['callid']} | created: {each['created']} | tags: {' '.join(each['tags'])}" for each in found
        ] or ["No sessions on this media relay."]
    if what == "interfaces":
        return [f"{each['name']} {each['address']}: {each['used']} pairs used, {each['free']} free" for each in found]
    return [f"{name}: {value}" for name, value in found.items()]
