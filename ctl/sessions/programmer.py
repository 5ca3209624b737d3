# SPDX-License-Identifier: GPL-3.0-or-later
"""Turns the plans of calls into flows, and keeps them right while routes move.

It alone writes them. A change touches only the pairs that differ; a restart only those that
are not in place already, so that media does not notice either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence, Set

import structlog

from ctl.kernel.flowrule import Endpoint, FlowStatistics
from ctl.sessions.carrier import UNBOUND, Bound, Carrier, Hops, has_ice, sample
from ctl.sessions.engine_carrier import EngineCarrier
from ctl.sessions.expected_ports import ExpectedPorts
from ctl.sessions.flow_plan import FlowPlan, Pair, Path, difference, key, pairs
from ctl.sessions.flow_view import FlowView, view
from ctl.sessions.ice import IcePair
from ctl.sessions.kernel_carrier import KernelCarrier
from ctl.sessions.programmed import Programmed
from ctl.sessions.riding import Riding, riding_on
from media.flows import EngineError

log = structlog.get_logger()


class Programmer(Programmed):
    """Owner of every flow. kernel is None where no XDP program is attached, engine where none is to run."""

    def __init__(self, hops: Hops, kernel: KernelCarrier | None = None, engine: EngineCarrier | None = None) -> None:
        super().__init__(kernel, engine)
        self.engine_begins: Callable[[], None] = lambda: None
        """Called when the engine gets flows after it had none."""
        self._hops = hops
        self._ways: Counter[tuple[str, str]] = Counter()
        self._expected = ExpectedPorts(self.flow_at)
        self._riding = Riding()

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
            self._change(call, have.get(key(pair)), pair)
        have.update((each, pair) for each, pair in pairs(plans).items() if not self._riding.has(each))
        self._note_hold(call, plans)

    def let_go(self) -> None:
        """Make what is planned of pairs whose legs have come beyond what was put in; to be called now and then."""
        for call, pair in self._riding.waiting():
            if self._there(pair[0].path):
                try:
                    self._change(call, self._calls[call][key(pair)], pair)
                except EngineError as error:
                    log.warning("flows stay with the engine", call=call, why=str(error))
                    self._riding.end(pair)

    def adopt(self, call: str, plans: Iterable[FlowPlan]) -> int:
        """Take over a call from an earlier process; return how many pairs were not in place and had to be written."""
        written = 0
        plans = tuple(plans)
        self._note_hold(call, plans)
        for pair in pairs(plans).values():
            carrier = self._carrier(pair[0].path)
            if not carrier.holds(pair):
                self._write(pair, fresh=False)
                if self._engine and carrier is self._kernel and not has_ice(pair):
                    self._engine.leave(pair)  # of a sound that the earlier process played
                written += 1
            elif has_ice(pair):
                self._attend(pair)
            self._keep(call, pair)
        return written

    def expect(self, call: str, ports: Set[Endpoint]) -> None:
        """Let what comes to these RTP ports of a call, and to the ones above, wait for its flows; to no others."""
        self._expected.expect(call, ports, self._engine)

    def remove(self, call: str) -> tuple[FlowView, ...]:
        """End all flows of a call; return their last views, those that ended earlier included."""
        for pair in list(self._calls.get(call, {}).values()):
            self._end(call, pair)
        self._calls.pop(call, None)
        self.expect(call, frozenset())
        self._held.discard(call)
        self.quality.forget(call)
        return tuple(self._ended.pop(call, ()))

    def ice_pairs(self, plans: Sequence[FlowPlan]) -> dict[Endpoint, IcePair]:
        """Return how far the engine is with ICE, by local address and port; nothing where it cannot be asked."""
        try:
            return self._engine.pairs(plans) if self._engine else {}
        except EngineError:
            return {}

    def reconcile(self, known: Collection[str], mine: Callable[[str, int], bool] = lambda address, port: True) -> int:
        """End every flow that is no known call's, ours or left by an earlier process; return how many.

        mine: whether a relay address and port is ours, where other processes have calls too.
        """
        strangers = [call for call in self._calls if call not in known]
        removed = sum(len(self.remove(call)) for call in strangers)
        ours = {local for have in self._calls.values() for both in have for local in both}
        ours.update(self._expected.locals())
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
        if self._engine:
            self._expected.expect_again(self._engine)

    def _note_hold(self, call: str, plans: Iterable[FlowPlan]) -> None:
        if all(a.held or b.held for a, b in pairs(plans).values() if a.kind != "rtcp"):
            self._held.add(call)
        else:
            self._held.discard(call)

    def _change(self, call: str, before: Pair | None, pair: Pair) -> None:
        between = riding_on(before, pair) if before else None
        if before and between and self._engine and self._engine.rides(between):
            if between != before:
                self._put(call, before, between)
            self._riding.go_on(call, pair)
            return
        self._put(call, before, pair)
        self._riding.end(pair)

    def _put(self, call: str, before: Pair | None, pair: Pair) -> None:
        if before and before[0].path != pair[0].path:
            self._move(call, before, pair)
            return
        self._write(pair, fresh=before is None)
        self._keep(call, pair)
        if before:
            self._retire(before, pair)
            self._forget(before)

    def _move(self, call: str, before: Pair, pair: Pair) -> None:
        """Let another carrier have the pair before the former lets go of it, so that no packet finds neither."""
        former = self._there(before[0].path)
        counted: Sequence[FlowStatistics | None] = former.read(before) if former else (None, None)
        self._write(pair, fresh=True, bound=_found(before, pair, counted))
        if former and not has_ice(pair):
            counted = former.leave(before) or counted
        self._close(call, before, counted)
        self._keep(call, pair)

    def _end(self, call: str, pair: Pair) -> None:
        carrier = self._there(pair[0].path)
        counted: Sequence[FlowStatistics | None] = carrier.end(pair) if carrier else (None, None)
        self._retire(pair)
        self._close(call, pair, counted)

    def _write(self, pair: Pair, *, fresh: bool, bound: Bound = UNBOUND) -> None:
        """With ICE the engine has the sockets, whoever carries the packets."""
        if has_ice(pair) and pair[0].path == "kernel":
            self._attend(pair)
        self._carrier(pair[0].path).write(pair, fresh, bound)

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
        del self._calls[call][key(pair)]
        self._riding.end(pair)
        for plan, statistics in zip(pair, counted, strict=True):
            self._owners.pop(plan.local, None)
            self._agents.discard(plan.local)
            if plan.kind == "rtp" and statistics:
                self.quality.finish(call, plan.stream, plan.leg, sample(plan, statistics))
            self._ended.setdefault(call, []).append(view(call, plan, statistics, self.quality))
        self._forget(pair)

    def _keep(self, call: str, pair: Pair) -> None:
        self._calls.setdefault(call, {})[key(pair)] = pair
        self._agents.update(plan.local for plan in pair if plan.ice)
        self._agents.difference_update(plan.local for plan in pair if not plan.ice)
        self._owners.update((plan.local, (call, plan)) for plan in pair)
        for plan in pair:
            self._ways[_way(plan)] += 1
        self._paths[pair[0].path] += 1
        if pair[0].path == "engine" and self._paths["engine"] == 1:
            self.engine_begins()

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


def _found(before: Pair, pair: Pair, counted: Sequence[FlowStatistics | None]) -> Bound:
    """Return the sources that a former carrier has learned, for another to go on with where the legs are the same."""
    first = counted[0] if counted else None
    second = counted[1] if len(counted) > 1 else None
    return _found_one(before[0], pair[0], first), _found_one(before[1], pair[1], second)


def _found_one(before: FlowPlan, plan: FlowPlan, counted: FlowStatistics | None) -> Endpoint | None:
    """The kernel binds whom it hears; where there are keys, only who has them is to be bound."""
    same = (before.source, before.latch) == (plan.source, plan.latch)
    if not same or plan.source[1] is not None or plan.ice or (plan.path == "engine" and plan.secured):
        return None
    return counted.learned_source if counted else None


def _way(plan: FlowPlan) -> tuple[str, str]:
    return plan.target[0], plan.egress[0]
