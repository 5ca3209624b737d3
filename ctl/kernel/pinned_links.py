# SPDX-License-Identifier: GPL-3.0-or-later
"""The links that hold the relay on its interfaces: made, given another program, moved and taken away by their pins."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from ctl.kernel import xdp
from ctl.kernel.libbpf import BpfError, Link, Mode, Program
from ctl.kernel.pins import LINK_PREFIX, Pins


class AttachError(Exception):
    """Attaching or detaching is not possible; one line that says why and what to do."""


def every_link(pins: Pins) -> dict[str, Path]:
    """Return the pinned links of all layouts by interface; this layout's, where several name one."""
    found: dict[str, Path] = {}
    for each in (*reversed(pins.others()), pins):
        found.update(each.links())
    return found


def refuse_foreign(interfaces: Iterable[str], pins: Pins) -> None:
    """Raise AttachError with the name of a program on one of the interfaces that is not ours."""
    links = every_link(pins)
    for name in interfaces:
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


def hold(pins: Pins, program: Program, name: str, mode: Mode, undo: ExitStack) -> str:
    """Put the program on one interface: by the link that is there, of whatever layout, or by a new one.

    Return "upgraded" or "attached".
    """
    path, ifindex = every_link(pins).get(name, pins.link(name)), xdp.interface_index(name)
    if path.exists():
        with Link.from_pin(path) as link:
            if link.ifindex == ifindex:
                undo.callback(_restore, path, link.program_id)
                link.update(program)
                return "upgraded"
        path.unlink()
    with _new_link(program, name, ifindex, mode) as link:
        undo.callback(remove_link, pins.link(name))
        link.pin(pins.link(name))
    return "attached"


def move_links(pins: Pins) -> None:
    """Bring the pins of all links of other layouts under this one's."""
    for each in pins.others():
        for name, path in each.links().items():
            path.replace(pins.link(name))


def remove_link(path: Path) -> None:
    """Detach even if someone else holds the link; one whose interface is gone only has its name left."""
    if not path.exists():
        return
    with Link.from_pin(path) as link:
        if link.ifindex:
            link.destroy()
    path.unlink()


def remove_layout(pins: Pins) -> None:
    """Detach and remove all that is pinned of one layout."""
    if not pins.directory.exists():
        return
    for path in sorted(pins.directory.iterdir(), key=lambda path: not path.name.startswith(LINK_PREFIX)):
        remove_link(path) if path.name.startswith(LINK_PREFIX) else path.unlink()
    pins.directory.rmdir()


def remove_all(pins: Pins) -> list[str]:
    """Remove every layout's links, pins and directories; return the interfaces that had a link."""
    names = sorted(every_link(pins))
    for each in (pins, *pins.others()):
        remove_layout(each)
    if pins.root.exists():
        pins.root.rmdir()
    return names


def _new_link(program: Program, name: str, ifindex: int, mode: Mode) -> Link:
    try:
        return Link.attach_xdp(program, ifindex, mode)
    except BpfError as error:
        reason = xdp.refusal(program, ifindex, mode) or os.strerror(error.errno or errno.EIO)
        remedy = 'use mode = "generic", or "off": the engine then carries all calls'
        raise AttachError(f"{name} takes no XDP in {mode} mode: {reason.rstrip('.')}; {remedy}") from error


def _restore(path: Path, program_id: int) -> None:
    with Link.from_pin(path) as link, Program.from_id(program_id) as program:
        link.update(program)
