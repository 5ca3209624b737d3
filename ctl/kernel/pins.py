# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the kernel relay's maps, program and links have their names in the bpf file system."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, unquote

from ctl.kernel._libbpf import lib

MAPS = (
    "flows",
    "ledgers",
    "reasons",
    "events",
    "mirror",
    "captures",
    "sources",
    "scratch",
    "wires",
    "queues",
    "config",
)
PROGRAM = "relay"
LINK_PREFIX = "link_"


@dataclass(frozen=True, slots=True)
class Pins:
    """The pin directory of one layout of bpf/flow.h, `<bpffs>/voxdp/v<LAYOUT>`."""

    bpffs: Path
    layout: int = lib.VOXDP_LAYOUT

    @property
    def root(self) -> Path:
        """What all layouts have in common."""
        return self.bpffs / "voxdp"

    @property
    def directory(self) -> Path:
        """This layout's directory: what `FlowTable.open` and `EventReader` take."""
        return _directory(self.bpffs, self.layout)

    @property
    def program(self) -> Path:
        """The relay program that was loaded last."""
        return self.directory / PROGRAM

    def map(self, name: str) -> Path:
        """One of MAPS."""
        return self.directory / name

    def link(self, interface: str) -> Path:
        """The link of an interface. A bpf file system allows no dot in a name, an interface does."""
        return self.directory / (LINK_PREFIX + quote(interface, safe="").replace(".", "%2E"))

    def links(self) -> dict[str, Path]:
        """The pinned links by interface name."""
        found = sorted(self.directory.glob(f"{LINK_PREFIX}*"))
        return {unquote(path.name.removeprefix(LINK_PREFIX)): path for path in found}

    def exist(self) -> bool:
        """Whether a relay of this layout is loaded, or another user keeps one from our sight."""
        try:
            return self.map("flows").exists()
        except PermissionError:
            return self._hidden()

    def complete(self) -> bool:
        """Whether all of a relay is pinned: the program comes last. Where not, attaching was cut off."""
        return self.map("flows").exists() and self.program.exists()

    def others(self) -> list[Pins]:
        """What is there of other layouts, the newest first."""
        layouts = (path.name.removeprefix("v") for path in self.root.glob("v*"))
        numbers = sorted(map(int, filter(str.isdecimal, layouts)), reverse=True)
        return [Pins(self.bpffs, number) for number in numbers if number != self.layout]

    def _hidden(self) -> bool:
        """If not even the file system may be passed, no relay of ours is in it: attaching would have refused."""
        try:
            return self.root.exists()
        except PermissionError:
            return False


@lru_cache(maxsize=16)
def _directory(bpffs: Path, layout: int) -> Path:
    """Asked for several times a second by who watches the relay."""
    return bpffs / "voxdp" / f"v{layout}"
