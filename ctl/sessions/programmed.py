# SPDX-License-Identifier: GPL-3.0-or-later
"""Which flows there are, and what was counted of them: what the programmer has written, for whoever asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set

from ctl.kernel.flowrule import Endpoint, FlowStatistics
from ctl.observe.quality import Quality, Sample
from ctl.sessions.carrier import Carrier, Counts
from ctl.sessions.engine_carrier import EngineCarrier
from ctl.sessions.flow_plan import FlowPlan, Key, Pair, Path
from ctl.sessions.flow_view import FlowSum, FlowView, view
from ctl.sessions.kernel_carrier import KernelCarrier
from media.stages import StageReport
from sip.effects import Leg


class Programmed:
    """Every flow of this process, by calls. kernel is None where no XDP program is attached, engine where none runs."""

    def __init__(self, kernel: KernelCarrier | None = None, engine: EngineCarrier | None = None) -> None:
        self.quality = Quality()
        self._kernel = kernel
        self._engine = engine
        self._calls: dict[str, dict[Key, Pair]] = {}
        self._ended: dict[str, list[FlowView]] = {}
        self._held: set[str] = set()
        self._paths: Counter[Path] = Counter()
        self._agents: set[Endpoint] = set()
        self._owners: dict[Endpoint, tuple[str, FlowPlan]] = {}

    def calls(self) -> Set[str]:
        """Return the calls that have flows."""
        return self._calls.keys()

    def uses(self, path: Path) -> bool:
        """Whether any flow goes that way."""
        return self._paths[path] > 0

    def flow_at(self, local: Endpoint) -> tuple[str, FlowPlan] | None:
        """Return the call and the plan of the flow that is received at a relay address and port."""
        return self._owners.get(local)

    @property
    def speaks_ice(self) -> bool:
        """Whether any flow does."""
        return bool(self._agents)

    def rtp_of(self, call: str) -> list[FlowPlan]:
        """Return the plans of the media of a call, RTCP left out."""
        return [plan for pair in self._calls.get(call, {}).values() for plan in pair if plan.kind == "rtp"]

    def flows(self, call: str | None = None) -> list[FlowView]:
        """Return the flows of one call, or of all, as they stand now."""
        return self.flows_of(self._calls if call is None else (call,))

    def flows_of(self, calls: Iterable[str]) -> list[FlowView]:
        """Return the flows of these calls as they stand now; those that have ended since have none."""
        listed = [(each, pair) for each in calls for pair in self._calls.get(each, {}).values()]
        counted = self._counted([pair for _, pair in listed])
        return [
            view(each, plan, statistics, self.quality)
            for (each, pair), both in zip(listed, counted, strict=True)
            for plan, statistics in zip(pair, both, strict=True)
        ]

    def ended(self, call: str) -> tuple[FlowView, ...]:
        """Return the last views of a live call's flows that have ended, or gone to another carrier."""
        return tuple(self._ended.get(call, ()))

    def sums(self) -> list[FlowSum]:
        """Return what all flows have counted, summed up by what tells them apart in metrics. Raises EngineError."""
        groups: dict[tuple[Path, Leg, str], list[FlowPlan]] = {}
        for pair in self._all_pairs():
            for plan in pair:
                groups.setdefault((plan.path, plan.leg, plan.reason), []).append(plan)
        found = []
        for (path, leg, reason), plans in groups.items():
            carrier = self._there(path)
            found.append(FlowSum(path, leg, reason, len(plans), carrier.sum(plans) if carrier else Counts()))
        return found

    def samples(self, calls: Iterable[str]) -> list[tuple[str, FlowPlan, Sample]]:
        """Return what the quality of the media of these calls is judged by. Raises EngineError."""
        listed = [(call, plan) for call in calls for plan in self.rtp_of(call)]
        found: list[tuple[str, FlowPlan, Sample]] = []
        for path in {plan.path for _, plan in listed}:
            there = [(call, plan) for call, plan in listed if plan.path == path]
            carrier = self._there(path)
            counted = carrier.samples([plan for _, plan in there]) if carrier else []
            found += [(*owner, each) for owner, each in zip(there, counted, strict=False) if each]
        return found

    def sound(self, local: Endpoint) -> StageReport | None:
        """Return what became of a flow's sound; None where it goes through no codec. Raises EngineError."""
        owner = self._owners.get(local)
        return self._engine.sound(owner[1]) if owner and self._engine else None

    def last_seen(self, calls: Iterable[str]) -> dict[str, float]:
        """Return when each call had its last packet, RTP or RTCP from either side, by CLOCK_MONOTONIC; 0: never.

        Flows that ended count too: they may have moved to another carrier. A call is left out if a carrier does not
        know its flows. Raises EngineError.
        """
        found = {call: self._last_of_ended(call) for call in calls}
        listed = [(call, plan) for call in found for pair in self._calls.get(call, {}).values() for plan in pair]
        for path in {plan.path for _, plan in listed}:
            there = [(call, plan) for call, plan in listed if plan.path == path]
            carrier = self._there(path)
            seen = carrier.last_seen([plan for _, plan in there]) if carrier else [None] * len(there)
            for (call, _), moment in zip(there, seen, strict=True):
                if moment is None:
                    found.pop(call, None)
                elif call in found:
                    found[call] = max(found[call], moment)
        return found

    def held(self) -> Set[str]:
        """Return the calls in which no stream flows both ways for now, as both sides have described it."""
        return self._held

    def _last_of_ended(self, call: str) -> float:
        counted = (view.statistics for view in self._ended.get(call, ()))
        return max((each.last_seen or 0.0 for each in counted if each), default=0.0)

    def _all_pairs(self) -> Iterator[Pair]:
        for have in self._calls.values():
            yield from have.values()

    def _counted(self, listed: Sequence[Pair]) -> list[tuple[FlowStatistics | None, ...]]:
        """Return the counters of all these pairs in their order, asking each carrier once."""
        found: dict[Endpoint, FlowStatistics | None] = {}
        for path in {pair[0].path for pair in listed}:
            plans = [plan for pair in listed if pair[0].path == path for plan in pair]
            carrier = self._there(path)
            counted = carrier.read(plans) if carrier else [None] * len(plans)
            found.update(zip((plan.local for plan in plans), counted, strict=True))
        return [tuple(found[plan.local] for plan in pair) for pair in listed]

    def _there(self, path: Path) -> Carrier | None:
        return self._kernel if path == "kernel" else self._engine
