# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what is in the kernel is what `voxdp attach` put there. Looking needs no capability."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ctl.kernel import xdp
from ctl.kernel.attach_record import AttachRecord
from ctl.kernel.libbpf import BpfError, Link, Map, Program
from ctl.kernel.pins import Pins

UPGRADE_SECONDS = 1.0  # within which a new program on the links is pinned, too
NOT_ATTACHED = "not attached"
PINS = ""  # no interface has this name
TABLES = ("flows", "ledgers")


class Untrusted(Exception):
    """The pinned relay is not the one that was attached; one line with the remedy."""


class RelayWatch:
    """Looks at the pinned program and at the interfaces. state_dir: where attaching left its record."""

    def __init__(self, pins: Pins, state_dir: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._pins = pins
        self._state_dir = state_dir
        self._clock = clock
        self._trusted = 0
        self._checked: tuple[int, ...] | None = None
        self._record = AttachRecord.path(state_dir)
        self._files = [os.fspath(path) for path in (pins.program, *map(pins.map, TABLES))]
        self._odd_since: dict[str, float] = {}

    def check(self) -> None:
        """Raise Untrusted unless the pinned program has the tag that was recorded, and works on the pinned maps."""
        record = AttachRecord.read(self._state_dir)
        if record is None:
            raise Untrusted(f"{AttachRecord.path(self._state_dir)}: no record of what was attached; run: voxdp attach")
        with Program.from_pin(self._pins.program) as program:
            if (record.layout, record.tag) != (self._pins.layout, program.tag):
                raise Untrusted(
                    f"{self._pins.program} has tag {program.tag}, but {record.tag} was attached; run: voxdp attach"
                )
            if not {_map_id(self._pins.map(name)) for name in TABLES} <= set(program.map_ids):
                raise Untrusted(f"{self._pins.program} works on other maps than the pinned ones; run: voxdp attach")
            self._trusted = program.id

    def follow(self) -> None:
        """`check` if anything was pinned or recorded since, but bear with what lasts less than a second: an upgrade is
        under way.
        """
        found = self._files_now()
        if found is not None and found == self._checked:
            return
        self._checked = None
        try:
            self.check()
        except Untrusted:
            if self._lasts(PINS):
                raise
        else:
            self._odd_since.pop(PINS, None)
            self._checked = found

    def trouble(self, interface: str) -> str:
        """Say why the relay does not carry this interface; empty if it does. Raises BpfError."""
        ifindex = xdp.interface_index(interface)
        if not ifindex:
            return "there is no such interface"
        place, held = self._held(interface)
        if place == ifindex:  # then nobody else's program is there: a link gives its place to none
            return self._of_program(interface, held)
        found = xdp.attached(ifindex)
        if found is None or (found.program_id == self._trusted and not held):  # a link without its pin goes soon
            return NOT_ATTACHED
        if found.program_id != held:
            return f"XDP program {found.program_id} of somebody else is there; see: voxdp xdp status"
        return self._of_program(interface, found.program_id)

    def _files_now(self) -> tuple[int, ...] | None:
        """What tells these pins and this record from others: a pin is never changed, but replaced by another file."""
        try:
            record = os.stat(self._record)
            return record.st_ino, record.st_mtime_ns, *(os.stat(path).st_ino for path in self._files)
        except OSError:
            return None

    def _of_program(self, interface: str, program_id: int) -> str:
        """Another program on our link is an upgrade under way; if it lasts, somebody has replaced ours."""
        if program_id != self._trusted:
            with suppress(Untrusted):
                self.check()
        if program_id == self._trusted:
            self._odd_since.pop(interface, None)
            return ""
        if not self._lasts(interface):
            return ""
        return f"XDP program {program_id} has taken the place of ours; run: voxdp attach"

    def _lasts(self, what: str) -> bool:
        return self._clock() - self._odd_since.setdefault(what, self._clock()) >= UPGRADE_SECONDS

    def _held(self, interface: str) -> tuple[int, int]:
        """Return the interface that our link is on, and the program that it holds; 0 and 0 if there is no such link."""
        try:
            with Link.from_pin(self._pins.link(interface)) as link:
                place, program_id = link.held()
                return place, program_id if place else 0
        except BpfError:
            return 0, 0


def _map_id(path: Path) -> int:
    with Map.from_pin(path) as pinned:
        return pinned.id
