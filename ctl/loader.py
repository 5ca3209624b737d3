# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts the relay into the kernel and takes it out again: program, maps and links, all pinned.

What is attached belongs to nobody's process: whoever attaches may exit, whoever runs may be killed, and traffic
goes on. Attaching again replaces the program between two packets and leaves the flows as they are.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from bpf import RELAY_OBJECT
from ctl import xdp
from ctl._libbpf import lib
from ctl.flowtable import FlowTable, RelayConfig
from ctl.libbpf import BpfError, BpfObject, Link, Map, Mode, Program
from ctl.pins import LINK_PREFIX, MAPS, PROGRAM, Pins
from ctl.privileges import is_bpffs, missing_capabilities, missing_to_attach
from ctl.reserved_ports import ReservedPorts, format_ports
from ctl.xdp_status import status

__all__ = ["AttachError", "AttachReport", "AttachSettings", "DetachReport", "attach", "detach", "status"]

STATE_DIR = Path("/run/voxdp")


class AttachError(Exception):
    """Attaching or detaching is not possible; one line that says why and what to do."""


@dataclass(frozen=True, slots=True)
class AttachSettings:
    """What to attach where.

    bpffs: a mounted bpf file system. addresses: the relay's IPv4 addresses, in the order of their slots. owner:
    the user whom the pins are given to. state_dir: remembers which ports are reserved.
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


@dataclass(frozen=True, slots=True)
class AttachReport:
    """What was done. Interface names by what happened to them; removed: not among the settings any more."""

    pin_dir: Path
    program_id: int
    tag: str
    mode: Mode
    attached: tuple[str, ...]
    upgraded: tuple[str, ...]
    removed: tuple[str, ...]
    reserved_ports: str


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
    config = _check(settings)
    pins, ports = Pins(settings.bpffs), ReservedPorts(settings.state_dir)
    with ports.locked():
        try:
            _refuse_foreign(settings, pins)
            _clear_for(settings, pins, config)
            ports.reserve(settings.port_min, settings.port_max)
            return _put(settings, pins, config)
        except BpfError as error:
            raise AttachError(str(error)) from error
        finally:
            if not pins.exist():
                ports.release()


def detach(bpffs: Path, state_dir: Path = STATE_DIR) -> DetachReport:
    """Take the relay off all interfaces, remove the pins of every layout, release the ports. Again is harmless.

    Needs root; raises AttachError.
    """
    missing = missing_capabilities(os.geteuid(), os.getegid())
    if missing:
        raise AttachError("; ".join(missing))
    pins, ports = Pins(bpffs), ReservedPorts(state_dir)
    with ports.locked():
        names = _remove_all(pins) if is_bpffs(bpffs) else []
        return DetachReport(tuple(names), format_ports(ports.release()))


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
    return RelayConfig(lib.VOXDP_LAYOUT, addresses, settings.port_min, settings.port_max)


def _address(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except ValueError:
        raise AttachError(f"addresses: {text} is not an IPv4 address") from None


def _refuse_foreign(settings: AttachSettings, pins: Pins) -> None:
    """Nobody's program is replaced but ours."""
    links = pins.links()
    for name in settings.interfaces:
        found = xdp.attached(xdp.interface_index(name))
        if found is None:
            continue
        if name in links:
            with Link.from_pin(links[name]) as link:
                if link.program_id == found.program_id:
                    continue
        with Program.from_id(found.program_id) as program:
            raise AttachError(
                f"{name}: another XDP program is attached: id {program.id}, name {program.name}, tag {program.tag};"
                f" take it off first: ip link set dev {name} xdp off, or bpftool link detach, or voxdp detach"
            )


def _clear_for(settings: AttachSettings, pins: Pins, config: RelayConfig) -> None:
    """Remove what cannot be upgraded in place, unless calls live on it."""
    if not pins.exist():
        _remove_all(pins)
        return
    table = FlowTable.open(pins.directory)
    changes = _changes(settings, pins, config, table.config)
    live = len(table.active())
    table.close()
    if changes and live:
        raise AttachError(f"{', '.join(changes)} changed while {live} flows are live; run voxdp detach first")
    if changes:
        _remove_all(pins)


def _changes(settings: AttachSettings, pins: Pins, config: RelayConfig, loaded: RelayConfig) -> list[str]:
    ports = (config.port_min, config.port_max) != (loaded.port_min, loaded.port_max)
    found = {"addresses": config.addresses != loaded.addresses, "port range": ports}
    for name in set(pins.links()) & set(settings.interfaces):
        now = xdp.attached(xdp.interface_index(name))
        found["mode"] = found.get("mode", False) or (now is not None and now.mode != settings.mode)
    return [name for name, changed in found.items() if changed]


def _put(settings: AttachSettings, pins: Pins, config: RelayConfig) -> AttachReport:
    """Load and attach; on any failure all is as it was before."""
    upgrade = pins.exist()
    with ExitStack() as undo:
        program, maps = _load(settings, pins, config, upgrade)
        if not upgrade:
            undo.callback(_remove_all, pins)
            _pin_maps(pins, maps)
        held = {name: _hold(settings, pins, program, name, undo) for name in settings.interfaces}
        _pin_program(pins, program)
        removed = [name for name in pins.links() if name not in settings.interfaces]
        _give_away(settings, pins)
        undo.pop_all()
    for name in removed:
        _remove_link(pins.link(name))
    by_result = {kind: tuple(name for name in held if held[name] == kind) for kind in ("attached", "upgraded")}
    span = f"{settings.port_min}-{settings.port_max}"
    return AttachReport(
        pins.directory, program.id, program.tag, settings.mode, **by_result, removed=tuple(removed), reserved_ports=span
    )


def _load(
    settings: AttachSettings, pins: Pins, config: RelayConfig, upgrade: bool
) -> tuple[Program, Mapping[str, Map]]:
    entries = len(config.addresses) * lib.FLOWS_PER_ADDRESS
    relay = BpfObject.open(
        settings.object_path, map_sizes={"flows": entries, "ledgers": entries}, rodata=config.encode()
    )
    try:
        for name in MAPS if upgrade else ():
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


def _pin_program(pins: Pins, program: Program) -> None:
    following = pins.directory / f"{PROGRAM}_next"
    following.unlink(missing_ok=True)
    program.pin(following)
    following.replace(pins.program)


def _hold(settings: AttachSettings, pins: Pins, program: Program, name: str, undo: ExitStack) -> str:
    """Put the program on one interface by a pinned link: the one that is there, or a new one."""
    path, ifindex = pins.link(name), xdp.interface_index(name)
    if path.exists():
        with Link.from_pin(path) as link:
            if link.ifindex == ifindex:
                undo.callback(_restore, path, link.program_id)
                link.update(program)
                return "upgraded"
        path.unlink()
    with _new_link(settings, program, name, ifindex) as link:
        undo.callback(_remove_link, path)
        link.pin(path)
    return "attached"


def _new_link(settings: AttachSettings, program: Program, name: str, ifindex: int) -> Link:
    try:
        return Link.attach_xdp(program, ifindex, settings.mode)
    except BpfError as error:
        reason = xdp.refusal(program, ifindex, settings.mode) or os.strerror(error.errno or errno.EIO)
        remedy = 'use mode = "generic", or "off": the engine then carries all calls'
        raise AttachError(f"{name} takes no XDP in {settings.mode} mode: {reason.rstrip('.')}; {remedy}") from error


def _restore(path: Path, program_id: int) -> None:
    with Link.from_pin(path) as link, Program.from_id(program_id) as program:
        link.update(program)


def _give_away(settings: AttachSettings, pins: Pins) -> None:
    """Only the owner passes the directories and opens the pins."""
    for directory in (pins.root, pins.directory):
        directory.chmod(0o700)
        os.chown(directory, settings.owner_uid, settings.owner_gid)
    for pin in pins.directory.iterdir():
        pin.chmod(0o600)
        os.chown(pin, settings.owner_uid, settings.owner_gid)


def _remove_all(pins: Pins) -> list[str]:
    """Every layout's links, pins and directories; names of the interfaces that had a link of this one."""
    names = list(pins.links())
    for directory in pins.layouts():
        for path in sorted(directory.iterdir(), key=lambda path: not path.name.startswith(LINK_PREFIX)):
            _remove_link(path) if path.name.startswith(LINK_PREFIX) else path.unlink()
        directory.rmdir()
    if pins.root.exists():
        pins.root.rmdir()
    return names


def _remove_link(path: Path) -> None:
    """Detach even if someone else holds the link; one whose interface is gone only has its name left."""
    if not path.exists():
        return
    with Link.from_pin(path) as link:
        if link.ifindex:
            link.destroy()
    path.unlink()
