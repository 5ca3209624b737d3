# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts the relay into the kernel and takes it out again: program, maps and links, all pinned.

What is attached belongs to nobody's process: whoever attaches may exit, whoever runs may be killed, and traffic
goes on. Attaching again replaces the program between two packets and leaves the flows as they are; where another
version laid them out differently, they are translated.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from bpf import RELAY_OBJECT
from ctl.host.privileges import is_bpffs, missing_capabilities, missing_to_attach
from ctl.host.reserved_ports import ReservedPorts, TooManyPorts, format_ports
from ctl.kernel import xdp
from ctl.kernel._libbpf import lib
from ctl.kernel.attach_record import AttachRecord
from ctl.kernel.flowtable import RelayConfig
from ctl.kernel.layouts import TRANSLATIONS, Takeover, config_of, live_flows
from ctl.kernel.libbpf import BpfError, BpfObject, Handle, Map, Mode, Program
from ctl.kernel.pinned_links import (
    AttachError,
    every_link,
    hold,
    move_links,
    refuse_foreign,
    remove_all,
    remove_layout,
    remove_link,
)
from ctl.kernel.pins import MAPS, PROGRAM, Pins
from ctl.kernel.xdp_status import status

__all__ = ["AttachError", "AttachReport", "AttachSettings", "DetachReport", "attach", "detach", "status"]

STATE_DIR = Path("/run/voxdp")
KEPT = tuple(name for name in MAPS if name != "config")
"""What an upgrade leaves in place; the configuration is constant to each program, so each has its own."""
SETTLE_SECONDS = 0.01  # packets under way are through with the former program after microseconds


@dataclass(frozen=True, slots=True)
class AttachSettings:
    """What to attach where.

    bpffs: a mounted bpf file system. addresses: the relay's addresses, in the order of their slots. owner:
    the user whom the pins are given to. state_dir: remembers which ports are reserved. unmatched_rate, unmatched_burst:
    see RelayConfig; a burst of 0 is that of one second.
    """

    bpffs: Path
    interfaces: tuple[str, ...]
    addresses: tuple[str, ...]
    port_min: int
    port_max: int
    mode: Mode = "native"
    owner_uid: int = 0
    owner_gid: int = 0
    state_dir: Path = STATE_DIR
    object_path: Path = field(default=RELAY_OBJECT)
    unmatched_rate: int = 0
    unmatched_burst: int = 0


@dataclass(frozen=True, slots=True)
class AttachReport:
    """What was done. Interface names by what happened to them; removed: not among the settings any more.

    taken_over: the layout whose flows were translated, None if they are where they were.
    """

    pin_dir: Path
    program_id: int
    tag: str
    mode: Mode
    attached: tuple[str, ...]
    upgraded: tuple[str, ...]
    removed: tuple[str, ...]
    reserved_ports: str
    taken_over: int | None = None


@dataclass(frozen=True, slots=True)
class DetachReport:
    """What was taken away; nothing, if nothing was there."""

    interfaces: tuple[str, ...]
    released_ports: str


def attach(settings: AttachSettings) -> AttachReport:
    """Load, attach and pin the relay, or upgrade the one that is there. Needs root.

    Raises AttachError; what was attached before then still is, unless no flow lived on it and the addresses, the
    ports or the mode were to change.
    """
    report = _attach(settings, afresh=True)
    assert report is not None
    return report


def mend(settings: AttachSettings) -> bool:
    """Attach again where the relay was taken off an interface; not if it is not pinned any more: then it was detached.

    Return whether it was done. Needs root; raises AttachError.
    """
    return _attach(settings, afresh=False) is not None


def detach(bpffs: Path, state_dir: Path = STATE_DIR) -> DetachReport:
    """Take the relay off all interfaces, remove the pins of every layout, release the ports. Again is harmless.

    Needs root; raises AttachError.
    """
    missing = missing_capabilities(os.geteuid(), os.getegid())
    if missing:
        raise AttachError("; ".join(missing))
    pins, ports = Pins(bpffs), ReservedPorts(state_dir)
    with ports.locked():
        names = remove_all(pins) if is_bpffs(bpffs) else []
        AttachRecord.remove(state_dir)
        return DetachReport(tuple(names), format_ports(ports.release()))


def _attach(settings: AttachSettings, afresh: bool) -> AttachReport | None:
    config = _check(settings)
    pins, ports = Pins(settings.bpffs), ReservedPorts(settings.state_dir)
    with ports.locked():
        if not afresh and not pins.complete():
            return None
        try:
            _refuse_planted(settings, pins)
            refuse_foreign(settings.interfaces, pins)
            former = _former(settings, pins, config)
            ports.reserve(settings.port_min, settings.port_max)
            return _put(settings, pins, config, former)
        except (BpfError, TooManyPorts) as error:
            raise AttachError(str(error)) from error
        finally:
            if not pins.exist() and not pins.others():
                ports.release()
                AttachRecord.remove(settings.state_dir)


def _check(settings: AttachSettings) -> RelayConfig:
    missing = missing_to_attach(settings.bpffs, settings.owner_uid, settings.owner_gid)
    if missing:
        raise AttachError("; ".join(missing))
    if not settings.object_path.exists():
        raise AttachError(f"{settings.object_path} is missing; build it: python setup.py build_py")
    if not 1 <= len(set(settings.addresses)) == len(settings.addresses) <= lib.RELAY_ADDRESSES:
        raise AttachError(f"addresses: give 1 to {lib.RELAY_ADDRESSES} different relay addresses")
    if not 1 <= settings.port_min <= settings.port_max <= 65535:
        raise AttachError(f"ports {settings.port_min}-{settings.port_max}: give a range within 1-65535")
    if not settings.interfaces:
        raise AttachError("interfaces: name at least one to attach to")
    for name in settings.interfaces:
        if not xdp.interface_index(name):
            raise AttachError(f"there is no interface {name} in this network namespace; see: ip link")
    addresses = tuple(_address(text) for text in settings.addresses)
    unmatched = settings.unmatched_rate, settings.unmatched_burst or settings.unmatched_rate
    return RelayConfig(lib.VOXDP_LAYOUT, addresses, settings.port_min, settings.port_max, *unmatched)


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise AttachError(f"addresses: {text} is not an IP address") from None


def _refuse_planted(settings: AttachSettings, pins: Pins) -> None:
    """Nobody but root and the owner may have made the directory that the pins are to lie in."""
    try:
        found = pins.root.lstat()
    except FileNotFoundError:
        return
    if found.st_uid not in (0, os.geteuid(), settings.owner_uid) or not stat.S_ISDIR(found.st_mode):
        raise AttachError(f"{pins.root} was made by user id {found.st_uid}; look at it, then: rm -r {pins.root}")


def _former(settings: AttachSettings, pins: Pins, config: RelayConfig) -> Pins | None:
    """Return the pins whose flows are to go on; remove what cannot be upgraded, unless calls live on it."""
    former = next((each for each in (pins, *pins.others()) if each.complete()), None)
    if former is None:
        remove_all(pins)
        return None
    if former != pins:
        remove_layout(pins)  # an upgrade that was cut off before its program was pinned
    changes, live = _changes(settings, pins, config, config_of(former)), live_flows(former)
    if former != pins and former.layout not in TRANSLATIONS:
        if live:
            raise AttachError(
                f"{live} flows live on a relay of layout {former.layout}, which this version cannot take over;"
                " when its calls have ended, run voxdp detach first"
            )
        changes.append("layout")
    if changes and live:
        raise AttachError(f"{', '.join(changes)} changed while {live} flows are live; run voxdp detach first")
    if changes:
        remove_all(pins)
        return None
    return former


def _changes(settings: AttachSettings, pins: Pins, config: RelayConfig, loaded: RelayConfig) -> list[str]:
    ports = (config.port_min, config.port_max) != (loaded.port_min, loaded.port_max)
    found = {"addresses": config.addresses != loaded.addresses, "port range": ports}
    for name in set(every_link(pins)) & set(settings.interfaces):
        now = xdp.attached(xdp.interface_index(name))
        found["mode"] = found.get("mode", False) or (now is not None and now.mode != settings.mode)
    return [name for name, changed in found.items() if changed]


def _put(settings: AttachSettings, pins: Pins, config: RelayConfig, former: Pins | None) -> AttachReport:
    """Load and attach; on any failure all is as it was before."""
    with ExitStack() as finally_, ExitStack() as undo:
        program, maps = _load(settings, pins, config, reuse=former == pins)
        if former != pins:
            undo.callback(remove_layout if former else remove_all, pins)
            _pin_maps(pins, maps)
        takeover = Takeover(former, maps["flows"], maps["ledgers"]) if former and former != pins else None
        if takeover:
            finally_.callback(takeover.close)
            takeover.copy()
        held = {name: hold(pins, program, name, settings.mode, undo) for name in settings.interfaces}
        if before := AttachRecord.read(settings.state_dir):
            undo.callback(before.write, settings.state_dir)
        AttachRecord(config.layout, program.tag).write(settings.state_dir)
        _pin_anew(maps["config"], pins.map("config"))
        _pin_anew(program, pins.program)
        _give_away(settings, pins)
        undo.pop_all()
        move_links(pins)
        if takeover:
            time.sleep(SETTLE_SECONDS)
            takeover.catch_up()
    for other in pins.others():
        remove_layout(other)
    removed = [name for name in pins.links() if name not in settings.interfaces]
    for name in removed:
        remove_link(pins.link(name))
    by_result = {kind: tuple(name for name in held if held[name] == kind) for kind in ("attached", "upgraded")}
    return AttachReport(
        pins.directory,
        program.id,
        program.tag,
        settings.mode,
        **by_result,
        removed=tuple(removed),
        reserved_ports=f"{settings.port_min}-{settings.port_max}",
        taken_over=former.layout if former and former != pins else None,
    )


def _load(settings: AttachSettings, pins: Pins, config: RelayConfig, reuse: bool) -> tuple[Program, Mapping[str, Map]]:
    entries = len(config.addresses) * lib.FLOWS_PER_ADDRESS
    relay = BpfObject.open(
        settings.object_path, map_sizes={"flows": entries, "ledgers": entries}, rodata=config.encode()
    )
    try:
        for name in KEPT if reuse else ():
            with Map.from_pin(pins.map(name)) as existing:
                relay.reuse(name, existing)
        relay.load()
        return relay.program(PROGRAM), {name: relay.map(name) for name in MAPS}
    finally:
        relay.close()


def _pin_maps(pins: Pins, maps: Mapping[str, Map]) -> None:
    """`flows` comes last: where it is, the others are."""
    pins.directory.mkdir(mode=0o700, parents=True)
    for name in sorted(MAPS, key=lambda name: name == "flows"):
        maps[name].pin(pins.map(name))


def _pin_anew(thing: Handle, path: Path) -> None:
    following = path.with_name(f"{path.name}_next")
    following.unlink(missing_ok=True)
    thing.pin(following)
    following.replace(path)


def _give_away(settings: AttachSettings, pins: Pins) -> None:
    """Only the owner passes the directories and opens the pins, those that are still under another layout too."""
    directories = [each.directory for each in (pins, *pins.others())]
    for path in (pins.root, *directories):
        path.chmod(0o700)
        os.chown(path, settings.owner_uid, settings.owner_gid)
    for pin in (pin for directory in directories for pin in directory.iterdir()):
        pin.chmod(0o600)
        os.chown(pin, settings.owner_uid, settings.owner_gid)
