# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller tells the command line of flows: lists, one in full, and why it is as it is."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, Protocol

from ctl.exits import USAGE
from ctl.network.nexthop import Route
from ctl.observe.captures import Captures, endpoint
from ctl.observe.explain import Facts, explain
from ctl.observe.flowviews import flow_row, sound_row
from ctl.sessions.carrier import Hops
from ctl.sessions.flow_view import FlowView
from ctl.sessions.host_carriers import Carriers
from ctl.sessions.programmer import Programmer
from ctl.verbs.control import ControlError, Encoded, Held, Verb, not_found
from media.flows import EngineError
from sip.core import Core
from sip.views import CallView

CALLS_AT_ONCE = 50
"""Some 200 flows, or 8 ms, between which other things are seen to."""

ENCODE = json.JSONEncoder(separators=(",", ":")).encode


class Routing(Hops, Protocol):
    """What is asked of `ctl.network.nexthop.NextHops`."""

    def route(self, target: str, source: str = "") -> Route | None:
        """Return how the kernel routes to `target`."""


class FlowVerbs:
    """Answers with plain values that JSON can carry."""

    def __init__(
        self, core: Core, programmer: Programmer, hops: Routing, carriers: Carriers, captures: Captures
    ) -> None:
        self._core = core
        self._captures = captures
        self._programmer = programmer
        self._hops = hops
        self._carriers = carriers

    def table(self) -> Mapping[str, Verb]:
        """Return every verb."""
        return {
            "flow.list": self.flow_list,
            "flow.show": self.flow_show,
            "flow.explain": self.flow_explain,
            "capture": self.capture,
        }

    async def flow_list(self, arguments: dict[str, Any]) -> Encoded:
        """Return the flows, all or of one call; in between, signalling has its turn."""
        wanted = str(arguments.get("call", ""))
        calls = [self._call(wanted)] if wanted else list(self._programmer.calls())
        pieces = []
        for start in range(0, len(calls), CALLS_AT_ONCE):
            now = time.monotonic()
            rows = [flow_row(view, now) for view in self._programmer.flows_of(calls[start : start + CALLS_AT_ONCE])]
            if rows:
                pieces.append(ENCODE(rows)[1:-1])
            await asyncio.sleep(0)
        return Encoded(f"[{','.join(pieces)}]".encode())

    def flow_show(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return one flow, and what became of its sound where it goes through a codec. Raises ControlError."""
        (view,) = self._chosen(str(arguments.get("id", "")), whole_calls=False)
        try:
            return {**flow_row(view), **sound_row(self._programmer.sound(view.local))}
        except EngineError as error:
            raise ControlError(str(error)) from None

    def flow_explain(self, arguments: dict[str, Any]) -> list[dict[str, Any]]:
        """Return why a flow, or each RTP flow of a call, is as it is."""
        now = time.monotonic()
        return [self._explained(view, now) for view in self._chosen(str(arguments.get("id", "")), whole_calls=True)]

    def capture(self, arguments: dict[str, Any]) -> Held:
        """Have the frames of calls and flows copied while the connection stands; return which they are."""
        calls = [self._call(str(each)) for each in arguments.get("calls", ())]
        flows = [endpoint(str(each)) for each in arguments.get("flows", ())]
        for local in flows:
            if self._programmer.flow_at(local) is None:
                raise not_found("flow", f"{local[0]}:{local[1]}")
        if not calls and not flows:
            raise ControlError("name a call or a flow", USAGE)
        return self._captures.start(calls, flows)

    def _call(self, beginning: str) -> str:
        """Return the id of the call that begins so: of ours, or of a proxy that drives the relay."""
        return only("call", beginning, {*self._programmer.calls(), *(call.id for call in self._core.calls())})

    def _chosen(self, wanted: str, *, whole_calls: bool) -> Iterable[FlowView]:
        """Return the flow of that id or, of a call's, its media. Raises ControlError."""
        owner = self._programmer.flow_at(endpoint(wanted)) if ":" in wanted else None
        if owner:
            return [view for view in self._programmer.flows(owner[0]) if view.local == owner[1].local]
        if whole_calls and wanted and ":" not in wanted:
            return [view for view in self._programmer.flows(self._call(wanted)) if view.kind == "rtp"]
        raise not_found("flow", wanted)

    def _explained(self, view: FlowView, now: float) -> dict[str, Any]:
        found = explain(self._facts(view, now))
        failed = found.failed
        return {
            "id": view.id,
            "call": view.call,
            "leg": view.leg,
            "kind": view.kind,
            "path": view.path,
            "why": found.path_text,
            "cause": found.cause,
            "text": found.text,
            "remedy": found.remedy or None,
            "failed_check": failed.name if failed else None,
            "checks": [asdict(check) for check in found.checks],
        }

    def _facts(self, view: FlowView, now: float) -> Facts:
        counted = view.statistics
        back = next(each for each in self._programmer.flows(view.call) if each.local == view.egress)
        target, egress = view.target[0], view.egress[0]
        kernel = view.path == "kernel"
        return Facts(
            path=view.path,
            path_reason=view.reason,
            state=view.state,
            local=view.local,
            interface=self._carriers.interfaces.get(view.local[0], ""),
            source=view.source,
            target=view.target,
            packets=counted.packets if counted else 0,
            idle=now - counted.last_seen if counted and counted.last_seen else None,
            rejected=counted.rejected if counted else 0,
            rejected_source=counted.rejected_source if counted else None,
            dropped=counted.dropped if counted else 0,
            last_reason=counted.last_reason if counted else None,
            route=self._hops.route(target, egress) is not None,
            neighbour=self._hops.resolve(target, egress) is not None if kernel else None,
            back_packets=back.statistics.packets if back.statistics else 0,
            back_idle=now - back.statistics.last_seen if back.statistics and back.statistics.last_seen else None,
            back_held=back.state == "held",
        )


def find_call(core: Core, beginning: str) -> CallView:
    """Return the one call of ours whose id begins so. Raises ControlError."""
    calls = {call.id: call for call in core.calls()}
    return calls[only("call", beginning, calls)]


def only(what: str, beginning: str, names: Iterable[str]) -> str:
    """Return the one name that begins so. Raises ControlError."""
    matches = [name for name in names if name.startswith(beginning)]
    if len(matches) > 1 and beginning:
        raise ControlError(f"{len(matches)} {what}s begin with {beginning!r}; give more of the id", USAGE)
    if not matches or not beginning:
        raise not_found(what, beginning)
    return matches[0]
