# SPDX-License-Identifier: GPL-3.0-or-later
"""How the engine gets its packets: by AF_XDP where that is configured and can be had, else by sockets, and why."""

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

SEVERAL = "each of several SIP workers has an engine of its own, and a receive queue has one AF_XDP socket"
UNATTACHED = "the kernel relay, which leads packets to AF_XDP sockets, is not attached; run: voxdp attach"


class EngineIo:
    """Sees to it that one engine has the AF_XDP sockets it is to have.

    trouble: why it has not, in one line. wires: those that it had when it was looked at last.
    """

    def __init__(self, wanted: Literal["sockets", "af_xdp"], run_directory: Path, alone: bool) -> None:
        """alone: no other engine of this host carries flows of the same relay."""
        self.wanted = wanted
        self.trouble = ""
        self.wires: tuple[EngineWire, ...] = ()
        self._opener = run_directory / OPENER_SOCKET
        self._alone = alone
        self._asked: tuple[object, ...] | None = None
        self._told: str | None = None

    def look(self, client: EngineClient, engine: int, pins: Path, pinned: object, attached: Iterable[str]) -> None:
        """To be called now and then. engine: its process; pinned: what tells one attached relay from the next."""
        interfaces = sorted(attached) if self.wanted == "af_xdp" and self._alone else []
        asked = (engine, pinned, *interfaces)
        try:
            if asked != self._asked:
                found = client.want_wires(pins, interfaces, self._opener)
                self._asked = asked
            else:
                found = client.wires() if interfaces else EngineWires((), "")
        except EngineError:
            return  # whoever looks after the process tells that
        self.wires = found.wires
        self._judge(found, interfaces)

    def packets(self) -> Counter[tuple[str, ...]]:
        """Return packets by interface and what became of them; from zero again where a worker was replaced."""
        counted: Counter[tuple[str, ...]] = Counter()
        for wire in self.wires:
            for name in ("received", "sent", "dropped"):
                counted[wire.interface, name] += getattr(wire, name)
        return counted

    def _judge(self, found: EngineWires, interfaces: list[str]) -> None:
        if self.wanted == "sockets":
            return
        self.trouble = found.trouble or ("" if interfaces else UNATTACHED if self._alone else SEVERAL)
        if self.trouble == self._told:
            return
        self._told = self.trouble
        if self.trouble:
            log.error("AF_XDP not in use, the engine's calls go by sockets", why=self.trouble)
        else:
            named = sorted(f"{wire.interface}:{wire.queue}" for wire in found.wires)
            log.info("engine receives by AF_XDP", queues=named, zero_copy=all(wire.zero_copy for wire in found.wires))
