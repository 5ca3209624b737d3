# SPDX-License-Identifier: GPL-3.0-or-later
"""How the engine gets its packets: by AF_XDP where that is wanted and can be had, else by sockets, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import structlog

from media.client import EngineClient
from media.flows import EngineError, EngineWire, EngineWires
from media.wire_opener import OPENER_SOCKET

log = structlog.get_logger()

EngineIoMode = Literal["auto", "sockets", "af_xdp"]
UNATTACHED = "the kernel relay, which leads packets to AF_XDP sockets, is not attached; run: voxdp attach"
GENERIC = "xdp.mode is generic: frames come with socket buffers, and AF_XDP would copy them once more"
CONFIGURED = "media.engine_io is sockets"
LOOKS, IDLE_LOOKS = 2, 10
"""One look in so many asks the engine what its sockets have done, the latter while it has no flows: that wakes each of
its workers."""


class EngineIo:
    """Sees to it that one engine has the AF_XDP sockets it is to have.

    trouble: why it has not, in one line. wires: those that it had when it was looked at last.
    """

    def __init__(self, wanted: EngineIoMode, run_directory: Path, native: bool = True) -> None:
        """native: so the relay is attached, where it is."""
        self.trouble = ""
        self.wires: tuple[EngineWire, ...] = ()
        self._wanted = wanted
        self._opener = run_directory / OPENER_SOCKET
        self._refusal = _refusal(wanted, native)
        self._asked: tuple[object, ...] | None = None
        self._told: str | None = None
        self._looks = 0

    @property
    def possible(self) -> bool:
        """Whether AF_XDP is to be used wherever the relay is attached."""
        return not self._refusal

    @property
    def description(self) -> str:
        """Which way it is now and why, for people."""
        if self.trouble or not self.wires:
            return f"sockets: {self.trouble}" if self.trouble else "sockets"
        return f"AF_XDP on {', '.join(self._queues())}"

    def look(
        self,
        client: EngineClient,
        engine: int,
        pins: Path,
        pinned: object,
        attached: Iterable[str],
        used: bool = True,
    ) -> None:
        """To be called each second. engine: its process; pinned: what tells one attached relay from the next; used:
        whether the engine has flows.
        """
        interfaces = sorted(attached) if self.possible else []
        asked = (engine, pinned, *interfaces)
        self._looks += 1
        if asked == self._asked and self._looks % (LOOKS if used else IDLE_LOOKS):
            return
        try:
            if asked != self._asked:
                found = client.want_wires(pins, interfaces, self._opener)
                self._asked = asked
            else:
                found = client.wires() if interfaces else EngineWires((), "")
        except EngineError:
            return  # whoever looks after the process tells that
        self.wires = found.wires
        self.trouble = found.trouble or self._refusal or ("" if interfaces else UNATTACHED)
        self._tell()

    def packets(self) -> Counter[tuple[str, ...]]:
        """Return packets by interface and what became of them; from zero again where a worker was replaced."""
        counted: Counter[tuple[str, ...]] = Counter()
        for wire in self.wires:
            for name in ("received", "sent", "dropped"):
                counted[wire.interface, name] += getattr(wire, name)
        return counted

    def _queues(self) -> list[str]:
        return sorted({f"{wire.interface}:{wire.queue}" for wire in self.wires})

    def _tell(self) -> None:
        """One line whenever it has become another way, or another reason; none about what was configured."""
        if self.trouble == self._told:
            return
        self._told = self.trouble
        if not self.trouble:
            shared = all(wire.zero_copy for wire in self.wires)
            log.info("engine receives by AF_XDP", queues=self._queues(), zero_copy=shared)
        elif self._wanted == "af_xdp":
            log.error("AF_XDP not in use, the engine's calls go by sockets", why=self.trouble)
        elif self._wanted == "auto":
            log.info("engine goes by sockets", why=self.trouble)


def _refusal(wanted: EngineIoMode, native: bool) -> str:
    if wanted == "sockets":
        return CONFIGURED
    return "" if native or wanted == "af_xdp" else GENERIC
