# SPDX-License-Identifier: GPL-3.0-or-later
"""Turns the plans of calls into flows, keeps them right while routes move, and tells what became of them.

It alone knows what has been programmed. A change touches only the pairs that differ; a restart only those that
are not in place already, so that media does not notice either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence, Set
from typing import Literal

from ctl.kernel.flowrule import Endpoint, FlowStatistics
from ctl.observe.quality import Direction, Quality, Sample
from ctl.sessions.carriers import Carrier, Counts, Hops, KernelCarrier, codec_of, has_ice, sample
from ctl.sessions.engine_carrier import EngineCarrier
from ctl.sessions.ice import IcePair
from ctl.sessions.plan import FlowPlan, Kind, Pair, Path, difference, pairs
from media.flows import EngineError
from media.ice import IceState
from media.stages import StageReport
from sip.effects import Leg
from sip.facts import fact

Key = tuple[Endpoint, Endpoint]
"""A pair by the local addresses of both its flows."""


@fact
class FlowView:
    """One flow as people see it. `leg` is the one that sends it. statistics: None if its carrier lost it.

    source: who may send; its port is the learned one, None while nothing was learned. quality, round_trip (seconds,
    from end to end) and round_trip_avg: of RTP, as far as they were measured.
    """

    id: str
    call: str
    leg: Leg
    stream: int
    kind: Kind
    path: Path
    reason: str
    state: Literal["held", "checking", "learning", "latching", "pinned"]
    local: Endpoint
    source: tuple[str, int | None]
    egress: Endpoint
    target: Endpoint
    learned_port: int | None
    codec: str
    """Name of the codec last seen or, before that, of the likeliest; empty for RTCP and where nothing is known."""
    statistics: FlowStatistics | None
    quality: Direction | None = None
    round_trip: float | None = None
    round_trip_avg: float | None = None
    ice: IceState = "off"
    """Of the leg that sends."""


@fact
class FlowSum:
    """What flows of one path, leg and reason have counted together, RTCP included."""

    path: Path
    leg: Leg
    reason: str
    flows: int
    counts: Counts


class Programmer:
    """Owner of every flow. kernel is None where no XDP program is attached, engine where none is to run."""

    def __init__(self, hops: Hops, kernel: KernelCarrier | None = None, engine: EngineCarrier | None = None) -> None:
        self.quality = Quality()
        self._hops = hops
        self._kernel = kernel
        self._engine = engine
        self._calls: dict[str, dict[Key, Pair]] = {}
        self._ended: dict[str, list[FlowView]] = {}
        self._held: set[str] = set()
        self._ways: Counter[tuple[str, str]] = Counter()
        self._paths: Counter[Path] = Counter()
        self._agents: set[Endpoint] = set()
        self._owners: dict[Endpoint, tuple[str, FlowPlan]] = {}

    def use(self, kernel: KernelCarrier | None, engine: EngineCarrier | None) -> None:
        """Write to these from now on: the relay was attached since, or the engine is another process."""
        self._kernel, self._engine = kernel, engine

    def apply(self, call: str, plans: Iterable[FlowPlan]) -> None:
        """Make the flows of a call what `plans` say. Raises EngineError; pairs before the failing one stay changed."""
        plans = tuple(plans)
        have = self._calls.setdefault(call, {})
        change = difference((plan for pair in have.values() for plan in pair), plans)
        for pair in change.gone:
            self._end(call, pair)
        for pair in change.written:
            before = have.get(_key(pair))
            if before and before[0].path != pair[0].path:
                self._move(call, before, pair)
                continue
            self._write(pair, fresh=before is None)
            self._keep(call, pair)
            if before:
                self._retire(before, pair)
                self._forget(before)
        have.update(pairs(plans))
        self._note_hold(call, plans)

    def adopt(self, call: str, plans: Iterable[FlowPlan]) -> int:
        """Take over a call from an earlier process; return how many pairs were not in place and had to be written."""
        written = 0
        plans = tuple(plans)
        self._note_hold(call, plans)
        for pair in pairs(plans).values():
            carrier = self._carrier(pair[0].path)
            if not carrier.holds(pair):
                self._write(pair, fresh=False)
                written += 1
            elif has_ice(pair):
                self._attend(pair)
            self._keep(call, pair)
        return written

    def remove(self, call: str) -> tuple[FlowView, ...]:
        """End all flows of a call; return their last views, those that ended earlier included."""
        for pair in list(self._calls.get(call, {}).values()):
            self._end(call, pair)
        self._calls.pop(call, None)
        self._held.discard(call)
        self.quality.forget(call)
        return tuple(self._ended.pop(call, ()))

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

    def ice_pairs(self, plans: Sequence[FlowPlan]) -> dict[Endpoint, IcePair]:
        """Return how far the engine is with ICE, by local address and port; nothing where it cannot be asked."""
        try:
            return self._engine.pairs(plans) if self._engine else {}
        except EngineError:
            return {}

    def rtp_of(self, call: str) -> list[FlowPlan]:
        """Return the plans of the media of a call, RTCP left out."""
        return [plan for pair in self._calls.get(call, {}).values() for plan in pair if plan.kind == "rtp"]

    def sound(self, local: Endpoint) -> StageReport | None:
        """Return what became of a flow's sound; None where it goes through no codec. Raises EngineError."""
        owner = self._owners.get(local)
        return self._engine.sound(owner[1]) if owner and self._engine else None

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

    def flows(self, call: str | None = None) -> list[FlowView]:
        """Return the flows of one call, or of all, as they stand now."""
        return self.flows_of(self._calls if call is None else (call,))

    def flows_of(self, calls: Iterable[str]) -> list[FlowView]:
        """Return the flows of these calls as they stand now; those that have ended since have none."""
        listed = [(each, pair) for each in calls for pair in self._calls.get(each, {}).values()]
        counted = self._counted([pair for _, pair in listed])
        return [
            self._view(each, plan, statistics)
            for (each, pair), both in zip(listed, counted, strict=True)
            for plan, statistics in zip(pair, both, strict=True)
        ]

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

    def held(self) -> Set[str]:
        """Return the calls in which no stream flows both ways for now, as both sides have described it."""
        return self._held

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

    def reconcile(self, known: Collection[str], mine: Callable[[str, int], bool] = lambda address, port: True) -> int:
        """End every flow that is no known call's, ours or left by an earlier process; return how many.

        mine: whether a relay address and port is ours, where other processes have calls too.
        """
        strangers = [call for call in self._calls if call not in known]
        removed = sum(len(self.remove(call)) for call in strangers)
        ours = {local for have in self._calls.values() for key in have for local in key}
        carriers: tuple[Carrier | None, ...] = (self._kernel, self._engine)
        for carrier in filter(None, carriers):
            for local in (each for each in carrier.locals() - ours if mine(*each)):
                carrier.off(local)
                removed += 1
        return removed

    def next_hops_changed(self, addresses: Collection[str]) -> int:
        """Rewrite the flows to these peers by their new next hop; return how many pairs. Counters go on."""
        carriers: dict[str, Carrier | None] = {"kernel": self._kernel}
        if self._engine and self._engine.routed:
            carriers["engine"] = self._engine
        rewritten = 0
        for pair in self._all_pairs():
            carrier = carriers.get(pair[0].path)
            if carrier and any(plan.target[0] in addresses for plan in pair) and not carrier.holds(pair):
                carrier.write(pair, fresh=False)
                rewritten += 1
        return rewritten

    def engine_restarted(self) -> None:
        """Give a new engine process the flows that the last one had. Raises EngineError."""
        for pair in self._all_pairs():
            if pair[0].path == "engine":
                self._carrier(pair[0].path).write(pair, fresh=False)
            elif has_ice(pair):
                self._attend(pair)

    def _note_hold(self, call: str, plans: Iterable[FlowPlan]) -> None:
        if all(a.held or b.held for a, b in pairs(plans).values() if a.kind != "rtcp"):
            self._held.add(call)
        else:
            self._held.discard(call)

    def _last_of_ended(self, call: str) -> float:
        counted = (view.statistics for view in self._ended.get(call, ()))
        return max((each.last_seen or 0.0 for each in counted if each), default=0.0)

    def _all_pairs(self) -> Iterator[Pair]:
        for have in self._calls.values():
            yield from have.values()

    def _move(self, call: str, before: Pair, pair: Pair) -> None:
        """Let another carrier have the pair before the former lets go of it, so that no packet finds neither."""
        former = self._there(before[0].path)
        counted: Sequence[FlowStatistics | None] = former.read(before) if former else (None, None)
        self._write(pair, fresh=True)
        if former and not has_ice(pair):
            counted = former.leave(before) or counted
        self._close(call, before, counted)
        self._keep(call, pair)

    def _end(self, call: str, pair: Pair) -> None:
        carrier = self._there(pair[0].path)
        counted: Sequence[FlowStatistics | None] = carrier.end(pair) if carrier else (None, None)
        self._retire(pair)
        self._close(call, pair, counted)

    def _write(self, pair: Pair, *, fresh: bool) -> None:
        """With ICE the engine has the sockets, whoever carries the packets."""
        if has_ice(pair) and pair[0].path == "kernel":
            self._attend(pair)
        self._carrier(pair[0].path).write(pair, fresh)

    def _attend(self, pair: Pair) -> None:
        if self._engine is None:
            raise LookupError("ICE is planned, and there is no engine to speak it")
        self._engine.attend(pair)

    def _retire(self, before: Pair, after: Pair | None = None) -> None:
        """Close the engine's sockets that spoke ICE for a pair of the kernel and speak it no more."""
        if self._engine and before[0].path == "kernel" and has_ice(before) and not (after and has_ice(after)):
            self._engine.leave(before)

    def _close(self, call: str, pair: Pair, counted: Sequence[FlowStatistics | None]) -> None:
        """Keep the last view of both flows, which their carrier has no more."""
        del self._calls[call][_key(pair)]
        for plan, statistics in zip(pair, counted, strict=True):
            self._owners.pop(plan.local, None)
            self._agents.discard(plan.local)
            if plan.kind == "rtp" and statistics:
                self.quality.finish(call, plan.stream, plan.leg, sample(plan, statistics))
            self._ended.setdefault(call, []).append(self._view(call, plan, statistics))
        self._forget(pair)

    def _counted(self, listed: Sequence[Pair]) -> list[tuple[FlowStatistics | None, ...]]:
        """Return the counters of all these pairs in their order, asking each carrier once."""
        found: dict[Endpoint, FlowStatistics | None] = {}
        for path in {pair[0].path for pair in listed}:
            plans = [plan for pair in listed if pair[0].path == path for plan in pair]
            carrier = self._there(path)
            counted = carrier.read(plans) if carrier else [None] * len(plans)
            found.update(zip((plan.local for plan in plans), counted, strict=True))
        return [tuple(found[plan.local] for plan in pair) for pair in listed]

    def _view(self, call: str, plan: FlowPlan, statistics: FlowStatistics | None) -> FlowView:
        learned = statistics.learned_port if statistics and plan.source[1] is None else None
        address, port = plan.source[0], plan.source[1] or learned
        if plan.latch and statistics and statistics.learned_source:
            address = statistics.learned_source[0]
        media = plan.kind == "rtp"
        return FlowView(
            id=_name(plan),
            call=call,
            leg=plan.leg,
            stream=plan.stream,
            kind=plan.kind,
            path=plan.path,
            reason=plan.reason,
            state=_state(plan, learned),
            local=plan.local,
            source=(address, port),
            egress=plan.egress,
            target=plan.target,
            learned_port=learned,
            codec=codec_of(plan, statistics.payload_type if statistics else None),
            statistics=statistics,
            quality=self.quality.of(call, plan.stream, plan.leg) if media else None,
            round_trip=self.quality.round_trip(call, plan.stream) if media else None,
            round_trip_avg=self.quality.round_trip_avg(call, plan.stream) if media else None,
            ice=plan.ice_state,
        )

    def _keep(self, call: str, pair: Pair) -> None:
        self._calls.setdefault(call, {})[_key(pair)] = pair
        self._agents.update(plan.local for plan in pair if plan.ice)
        self._agents.difference_update(plan.local for plan in pair if not plan.ice)
        self._owners.update((plan.local, (call, plan)) for plan in pair)
        for plan in pair:
            self._ways[_way(plan)] += 1
        self._paths[pair[0].path] += 1

    def _forget(self, pair: Pair) -> None:
        """Watch the way to a peer no longer if no other flow goes there."""
        self._paths[pair[0].path] -= 1
        for way in map(_way, pair):
            self._ways[way] -= 1
            if not self._ways[way]:
                del self._ways[way]
                self._hops.forget(*way)

    def _carrier(self, path: Path) -> Carrier:
        carrier = self._there(path)
        if carrier is None:
            raise LookupError(f"flows are planned for the {path}, which is not there")
        return carrier

    def _there(self, path: Path) -> Carrier | None:
        return self._kernel if path == "kernel" else self._engine


def _state(plan: FlowPlan, learned: int | None) -> Literal["held", "checking", "learning", "latching", "pinned"]:
    if plan.held:
        return "held"
    if plan.source[1] or learned:
        return "pinned"
    return "checking" if plan.ice else "latching" if plan.latch else "learning"


def _key(pair: Pair) -> Key:
    return pair[0].local, pair[1].local


def _way(plan: FlowPlan) -> tuple[str, str]:
    return plan.target[0], plan.egress[0]


def _name(plan: FlowPlan) -> str:
    address, port = plan.local
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
