# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports whose media may come before the answer does: what reaches them waits at the engine for its flows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import suppress

from ctl.sessions.engine_carrier import EngineCarrier
from ctl.sessions.flow_plan import FlowPlan
from ctl.sessions.streams import Endpoint
from media.flows import EngineError


class ExpectedPorts:
    """RTP ports by calls; those of RTCP are the ones above. flow_at: whose flow is received at an address and port."""

    def __init__(self, flow_at: Callable[[Endpoint], tuple[str, FlowPlan] | None]) -> None:
        self._flow_at = flow_at
        self._calls: dict[str, Set[Endpoint]] = {}

    def expect(self, call: str, ports: Set[Endpoint], engine: EngineCarrier | None) -> None:
        """Let what comes to these ports of a call wait for its flows; to no others.

        A port that cannot be had now is refused, or had, with the answer.
        """
        before = self._calls.pop(call, frozenset())
        if ports:
            self._calls[call] = ports
        if engine is None or ports == before:
            return
        with suppress(EngineError):
            for local in ports - before:
                if self._flow_at(local) is None:
                    engine.expect(local)
            past = [each for each in _with_rtcp(before - ports) if not self._carried_by_engine(each)]
            if past:
                engine.expect_no_more(past, [each for each in past if self._flow_at(each) is None])

    def expect_again(self, engine: EngineCarrier) -> None:
        """Tell an engine that is another process now. Raises EngineError."""
        for ports in self._calls.values():
            for local in ports:
                if self._flow_at(local) is None:
                    engine.expect(local)

    def locals(self) -> Iterator[Endpoint]:
        """Return the addresses and ports of all calls, those of RTCP included."""
        for ports in self._calls.values():
            yield from _with_rtcp(ports)

    def _carried_by_engine(self, local: Endpoint) -> bool:
        _, plan = self._flow_at(local) or ("", None)
        return plan is not None and (plan.path == "engine" or plan.ice is not None)


def _with_rtcp(ports: Iterable[Endpoint]) -> Iterator[Endpoint]:
    for address, port in ports:
        yield address, port
        yield address, port + 1
