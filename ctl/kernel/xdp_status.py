# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the kernel relay is there: interfaces, program, maps, packets by reason."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ctl.host import ethtool
from ctl.kernel import xdp
from ctl.kernel.flowtable import FlowTable, ReasonCount, RelayConfig
from ctl.kernel.libbpf import BpfError, Map, Mode, Program
from ctl.kernel.pins import MAPS, Pins


@dataclass(frozen=True, slots=True)
class InterfaceStatus:
    """One interface. The program's name and tag are None where there is none, or this process may not look.

    driver, queues (receive queues in use): None where the driver does not say.
    """

    name: str
    ifindex: int
    mode: Mode | None
    program_id: int | None
    program_name: str | None
    program_tag: str | None
    ours: bool
    driver: str | None = None
    queues: int | None = None


@dataclass(frozen=True, slots=True)
class ProgramStatus:
    """The relay program. Sizes in bytes, 0 to a process without CAP_BPF; loaded_at in seconds since 1970."""

    id: int
    name: str
    tag: str
    verified_instructions: int
    translated_size: int
    compiled_size: int
    loaded_at: float


@dataclass(frozen=True, slots=True)
class MapStatus:
    """One map. memory: bytes that the kernel accounts for it."""

    name: str
    id: int
    max_entries: int
    memory: int


@dataclass(frozen=True, slots=True)
class XdpStatus:
    """All of it; with nothing attached program and config are None, maps and reasons empty. flows: how many are on."""

    pin_dir: Path
    program: ProgramStatus | None
    config: RelayConfig | None
    interfaces: tuple[InterfaceStatus, ...]
    maps: tuple[MapStatus, ...]
    reasons: dict[str, ReasonCount]
    flows: int


def status(bpffs: Path, interfaces: Iterable[str] = ()) -> XdpStatus:
    """Look at the pins below `bpffs`, and at their interfaces and the ones named.

    Raises BpfError with EACCES if the pins belong to another user.
    """
    pins = Pins(bpffs)
    loaded = pins.exist()
    program = _relay(pins) if loaded else None
    table = FlowTable.open(pins.directory) if loaded else None
    try:
        return XdpStatus(
            pins.directory,
            _program(program) if program else None,
            table.config if table else None,
            tuple(_interface(name, program) for name in dict.fromkeys([*pins.links(), *interfaces])),
            tuple(_map(pins.map(name)) for name in MAPS) if loaded else (),
            table.reasons() if table else {},
            len(table.active()) if table else 0,
        )
    finally:
        if table:
            table.close()


def _relay(pins: Pins) -> Program | None:
    try:
        return Program.from_pin(pins.program)
    except BpfError as error:
        if error.errno == errno.ENOENT:
            return None
        if error.errno == errno.EACCES:
            remedy = "run as that user or as root"
            raise BpfError(errno.EACCES, f"{pins.root} belongs to another user; {remedy}") from error
        raise


def _interface(name: str, relay: Program | None) -> InterfaceStatus:
    ifindex = xdp.interface_index(name)
    found, driver = xdp.attached(ifindex) if ifindex else None, ethtool.settings(name)
    if found is None:
        return InterfaceStatus(name, ifindex, None, None, None, None, False, driver.driver, driver.queues)
    ours = relay is not None and relay.id == found.program_id
    program = relay if ours else _foreign(found.program_id)
    title, tag = (program.name, program.tag) if program else (None, None)
    return InterfaceStatus(name, ifindex, found.mode, found.program_id, title, tag, ours, driver.driver, driver.queues)


def _foreign(program_id: int) -> Program | None:
    try:
        return Program.from_id(program_id)
    except BpfError:
        return None


def _program(program: Program) -> ProgramStatus:
    info = program.info
    return ProgramStatus(
        program.id,
        program.name,
        program.tag,
        program.verified_instructions,
        info.xlated_prog_len,
        info.jited_prog_len,
        time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + info.load_time / 1e9,
    )


def _map(path: Path) -> MapStatus:
    with Map.from_pin(path) as pinned:
        return MapStatus(path.name, pinned.id, pinned.max_entries, _memory(pinned.fd))


def _memory(fd: int) -> int:
    """Proc(5): fdinfo of a map has its accounted size."""
    for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "memlock":
            return int(value)
    return 0
