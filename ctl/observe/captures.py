# SPDX-License-Identifier: GPL-3.0-or-later
"""Which flows the kernel copies for a capture. The frames themselves never come here: the command reads them.

A capture lasts as long as the connection of the command that asked for it, so that it ends with the command, however
that ends; and one that a killed controller has left is ended by the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ctl.kernel.flowrule import Endpoint, FlowFlag
from ctl.sessions.flow_view import FlowView
from ctl.sessions.host_carriers import Carriers
from ctl.sessions.kernel_carrier import KernelCarrier
from ctl.sessions.programmer import Programmer
from ctl.verbs.control import ControlError, Held, not_found

FLOWS_AT_ONCE = 64
"""One reader takes some 20,000 frames a second: 64 flows make 6,400."""


@dataclass(slots=True)
class _Capture:
    """calls, locals: what was asked for; flows that a call gets later are captured too."""

    calls: frozenset[str]
    locals: frozenset[Endpoint]
    over: asyncio.Event


class Captures:
    """One per controller; one capture at a time, for the ring buffer has one reader."""

    def __init__(self, programmer: Programmer, carriers: Carriers) -> None:
        self._programmer = programmer
        self._carriers = carriers
        self._current: _Capture | None = None

    def start(self, calls: Sequence[str], locals_: Sequence[Endpoint]) -> Held:
        """Have these flows copied, RTCP of the calls too, until the result is released. Raises ControlError."""
        if self._current:
            raise ControlError("another capture is under way; end it first")
        kernel = self._carriers.kernel
        if kernel is None:
            raise ControlError("the kernel relay is not attached; capture with: tcpdump -ni any udp")
        wanted = _Capture(frozenset(calls), frozenset(locals_), asyncio.Event())
        views = self._flows(wanted)
        above = [view for view in views if view.path != "kernel"]
        if len(above) == len(views):
            ports = " or ".join(f"port {view.local[1]}" for view in above)
            blind = (
                'set media.engine_io to "sockets", since nobody sees AF_XDP\'s, and ' if self._carriers.io.wires else ""
            )
            raise ControlError(
                f"the engine carries these flows; {blind}capture with: tcpdump -ni any udp and ({ports})"
            )
        if len(views) > FLOWS_AT_ONCE:
            raise ControlError(f"{len(views)} flows are more than {FLOWS_AT_ONCE} at once; name fewer")
        self._current = wanted
        named = [self._named(view, kernel) for view in views if view.path == "kernel"]
        result = {"flows": named, "engine": [view.id for view in above]}
        return Held(result, self._releaser(wanted), wanted.over)

    def look(self) -> None:
        """Follow what has changed: further flows of a call, a relay attached anew, the end of all. Each second."""
        if self._current is None:
            return
        views = self._flows(self._current)
        if not views:
            self._current.over.set()
        elif self._carriers.kernel:
            for view in views:
                if view.path == "kernel":
                    self._carriers.kernel.mark(view.local, FlowFlag.CAPTURE)

    def close(self) -> None:
        """End the capture under way, if there is one."""
        if self._current:
            self._current.over.set()
            self._end(self._current)

    def _releaser(self, capture: _Capture) -> Callable[[], None]:
        return lambda: self._end(capture)

    def _end(self, capture: _Capture) -> None:
        if self._current is not capture:
            return
        if self._carriers.kernel:
            for view in self._flows(capture):
                self._carriers.kernel.unmark(view.local, FlowFlag.CAPTURE)
        self._current = None

    def _flows(self, capture: _Capture) -> list[FlowView]:
        owners = (self._programmer.flow_at(local) for local in capture.locals)
        calls = capture.calls | {owner[0] for owner in owners if owner}
        views = self._programmer.flows_of(calls)
        return [view for view in views if view.call in capture.calls or view.local in capture.locals]

    def _named(self, view: FlowView, kernel: KernelCarrier) -> dict[str, Any]:
        index = kernel.mark(view.local, FlowFlag.CAPTURE)
        return {
            "index": index,
            "id": view.id,
            "call": view.call,
            "leg": view.leg,
            "kind": view.kind,
            "ingress": self._carriers.interfaces.get(view.local[0], "unknown"),
            "egress": self._carriers.interfaces.get(view.egress[0], "unknown"),
        }


def endpoint(text: str) -> Endpoint:
    """Read a flow's id. Raises ControlError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise not_found("flow", text)
    return host.strip("[]"), int(port)
