# SPDX-License-Identifier: GPL-3.0-or-later
"""Flows of the userspace engine: how a pair of plans is opened there, what its stages are told, and what it counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from ctl.kernel.flowrule import Endpoint, FlowStatistics
from ctl.network.nexthop import NextHop
from ctl.observe.quality import Sample
from ctl.sessions.carrier import UNBOUND, Bound, Counts, Hops, has_ice, sample
from ctl.sessions.flow_plan import FlowPlan, Pair
from ctl.sessions.ice import IcePair
from ctl.sessions.kernel_carrier import LATCH_PACKETS, KernelCarrier
from media.flows import EngineError, EngineFlow, EngineHop, EngineStatistics, FlowKey, redacted
from media.stages import InsertStage, ReportsStage, Stage, StageReport, Tap, TapStage, TranscodeStage


class Engine(Protocol):
    """What is asked of `media.client.EngineClient`. Every method may raise EngineError."""

    def set_pair(self, a: EngineFlow, b: EngineFlow) -> int:
        """Open or update two flows that face each other; return which worker has them."""

    def set_stage(self, key: FlowKey, kind: int, settings: bytes = b"") -> None:
        """Say what a flow does with RTP; kind 0: nothing."""

    def bind(self, keys: Sequence[FlowKey]) -> None:
        """Have what is sent to flows to come wait until they are set."""

    def unbind(self, keys: Sequence[FlowKey]) -> None:
        """Give up ports that were bound, and nothing else."""

    def list_bound(self) -> Sequence[FlowKey]:
        """Return the ports that are bound and not set yet."""

    def remove(self, keys: Sequence[FlowKey]) -> Sequence[EngineStatistics]:
        """Close flows and their partners; return their last statistics."""

    def read(self, keys: Sequence[FlowKey]) -> Sequence[EngineStatistics]:
        """Return the statistics of those flows that exist."""

    def read_stage(self, key: FlowKey) -> bytes:
        """Return what a flow's stage has counted."""

    def list(self) -> Sequence[FlowKey]:
        """Return the names of all flows."""


class EngineCarrier:
    """Flows that the userspace engine relays. Where XDP guards their ports, `kernel` hands the packets up.

    hops: where the engine is to send frames itself, by AF_XDP; None: it sends by sockets alone. latch_packets: how many
    bind a latching flow.
    """

    def __init__(
        self,
        engine: Engine,
        kernel: KernelCarrier | None = None,
        hops: Hops | None = None,
        latch_packets: int = LATCH_PACKETS,
    ) -> None:
        self._engine = engine
        self._latch_packets = latch_packets
        self._kernel = kernel
        self._hops = hops
        self._taps: dict[Endpoint, Tap] = {}
        self._kinds: dict[Endpoint, int] = {}

    def write(self, pair: Pair, fresh: bool, bound: Bound = UNBOUND) -> None:
        """Open both flows, or update them. Raises EngineError."""
        names = [plan.local for plan in pair]
        paired = has_ice(pair)
        if fresh and not paired:
            self._engine.remove(names)
        resumed = not fresh and any(plan.secured for plan in pair) and not self._engine.read(names)
        flows = (
            replace(self._flow(plan), resumed=resumed, afresh=fresh and paired, bound=source)
            for plan, source in zip(pair, bound, strict=True)
        )
        seat = self._engine.set_pair(*flows)
        for plan in pair:
            if fresh:
                self._forget(plan.local)
            if plan.transcoding or plan.handling or plan.house or plan.reports or not fresh:
                self._set_stage(plan)
        if self._kernel:
            self._kernel.hand_up(pair, seat)

    def attend(self, pair: Pair) -> None:
        """Speak ICE for a pair that the kernel carries. Raises EngineError."""
        self._engine.set_pair(*map(self._flow, pair))
        for plan in pair:
            if plan.local in self._kinds:
                self._set_stage(plan)

    def pairs(self, plans: Sequence[FlowPlan]) -> dict[Endpoint, IcePair]:
        """Return how far ICE is with those flows that speak it, by their local address and port. Raises EngineError."""
        names = [plan.local for plan in plans if plan.ice]
        found = self._engine.read(names) if names else ()
        return {each.key: IcePair(each.ice, each.selected) for each in found if each.ice != "off"}

    def holds(self, pair: Pair) -> bool:
        """Whether the engine has these very flows. A next hop that it has and we do not know yet counts as right."""
        found = [each.flow for each in self._engine.read([plan.local for plan in pair])]
        wanted = [redacted(self._flow(plan)) for plan in pair]
        if self._hops and len(found) == len(wanted):
            both = zip(wanted, found, strict=True)
            wanted = [each if each.hop else replace(each, hop=there.hop) for each, there in both]
        return found == wanted

    @property
    def routed(self) -> bool:
        """Whether its flows have next hops, which are to be kept right."""
        return self._hops is not None

    def read(self, plans: Sequence[FlowPlan]) -> list[FlowStatistics | None]:
        """Return what the engine counted; nothing if there is no engine any more."""
        return self._counted(self._engine.read, plans)

    def sound(self, plan: FlowPlan) -> StageReport | None:
        """Return what became of a flow's sound; None where it does not go through a codec. Raises EngineError."""
        if not isinstance(self._stage(plan), TranscodeStage):
            return None
        report = self._engine.read_stage(plan.local)
        return StageReport.unpack(report) if report else None

    def last_seen(self, plans: Sequence[FlowPlan]) -> list[float | None]:
        """Return when each had its last packet. Raises EngineError."""
        return [None if counted is None else counted.last_seen or 0.0 for counted in self.read(plans)]

    def sum(self, plans: Sequence[FlowPlan]) -> Counts:
        """Return what they have counted together. Raises EngineError."""
        counted = [each for each in self.read(plans) if each]
        return Counts(*(sum(getattr(each, name) for each in counted) for name in Counts._fields))

    def samples(self, plans: Sequence[FlowPlan]) -> list[Sample | None]:
        """Return what quality is judged by. Raises EngineError."""
        both = zip(plans, self.read(plans), strict=True)
        return [None if counted is None else sample(plan, counted) for plan, counted in both]

    def end(self, pair: Pair) -> list[FlowStatistics | None]:
        """Close both flows and return what they had counted; an engine that is gone has closed them itself."""
        for plan in pair:
            self._forget(plan.local)
        counted = self._counted(self._engine.remove, pair)
        if self._kernel:
            for plan in pair:
                self._kernel.off(plan.local)
        return counted

    def leave(self, pair: Pair) -> list[FlowStatistics | None]:
        """Close both sockets: the kernel forwards what would reach them."""
        for plan in pair:
            self._forget(plan.local)
        return self._counted(self._engine.remove, pair)

    def expect(self, local: Endpoint) -> None:
        """Have what reaches an RTP port and the one above wait for the flows that are to be. Raises EngineError."""
        self._engine.bind([local, (local[0], local[1] + 1)])
        if self._kernel:
            self._kernel.hand_up_early(local)

    def expect_no_more(self, ports: Sequence[Endpoint], unused: Sequence[Endpoint]) -> None:
        """Give up these ports, RTCP's among them. unused: those that have become no flow. Raises EngineError."""
        if self._kernel:
            for local in unused:
                self._kernel.off(local)
        self._engine.unbind(ports)

    def locals(self) -> set[Endpoint]:
        """Return the relay address and port of every flow, and of those to come."""
        return {*self._engine.list(), *self._engine.list_bound()}

    def off(self, local: Endpoint) -> None:
        """Close one flow and its partner, or give up its port."""
        self._engine.remove([local])
        self._engine.unbind([local])

    def rides(self, pair: Pair) -> bool:
        """Whether numbers of a leg's packets to come are used up for what was put in, which only the engine knows."""
        try:
            return any(self._rides(plan) for plan in pair if plan.handling)
        except EngineError as error:
            if error.code != "gone":
                raise
            return False

    def tap(self, plan: FlowPlan, tap: Tap | None) -> None:
        """Have a flow's packets copied to the recorder, or no more, until it ends. Raises EngineError."""
        if self._taps.get(plan.local) == tap:
            return
        if tap:
            self._taps[plan.local] = tap
        else:
            del self._taps[plan.local]
        self._set_stage(plan)

    def _rides(self, plan: FlowPlan) -> bool:
        report = self._engine.read_stage(plan.local)
        return bool(report) and StageReport.unpack(report).rides

    def _flow(self, plan: FlowPlan) -> EngineFlow:
        hop = self._hops.resolve(plan.target[0], plan.egress[0]) if self._hops else None
        return _engine_flow(plan, hop, self._latch_packets if plan.latch else 0)

    def _set_stage(self, plan: FlowPlan) -> None:
        """A stage that is to begin with something is opened without: with it, it would be one that takes over."""
        stage = self._stage(plan)
        kind = stage.kind if stage else 0
        if isinstance(stage, InsertStage | TranscodeStage) and self._kinds.get(plan.local) != kind:
            self._engine.set_stage(plan.local, kind, replace(stage, clip=None, dial=None).pack())
        self._engine.set_stage(plan.local, kind, stage.pack() if stage else b"")
        self._kinds[plan.local] = kind

    def _stage(self, plan: FlowPlan) -> Stage | None:
        through, tap = plan.transcoding, self._taps.get(plan.local)
        if plan.handling:
            return plan.handling.stage(through, tap, plan.reports)
        if through:
            return TranscodeStage(through.heard, through.sent, tap=tap)
        if plan.reports:
            return ReportsStage(plan.clock_rate, tap)
        unheard = plan.house and not plan.target[1]
        return TapStage(tap) if tap or unheard else None

    def _forget(self, local: Endpoint) -> None:
        self._taps.pop(local, None)
        self._kinds.pop(local, None)

    def _counted(
        self, ask: Callable[[Sequence[FlowKey]], Sequence[EngineStatistics]], plans: Sequence[FlowPlan]
    ) -> list[FlowStatistics | None]:
        try:
            found = {each.key: _statistics(each) for each in ask([plan.local for plan in plans])}
        except EngineError as error:
            if error.code != "gone":
                raise
            found = {}
        return [found.get(plan.local) for plan in plans]


def _engine_flow(plan: FlowPlan, hop: NextHop | None, latch: int) -> EngineFlow:
    return EngineFlow(
        local_address=plan.local[0],
        local_port=plan.local[1],
        source_address=plan.source[0],
        source_port=plan.source[1],
        target_address=plan.target[0],
        target_port=plan.target[1],
        kind=plan.kind,
        clock_rate=plan.clock_rate,
        held=plan.held,
        mux=plan.mux,
        latch=latch,
        follows=plan.moves == "handover",
        apart=plan.moves == "asymmetric",
        demux=plan.demux,
        echo=plan.echo,
        dscp=plan.dscp,
        open=plan.open,
        seal=plan.seal,
        dtls=plan.dtls,
        hop=EngineHop(hop.ifindex, hop.target_mac, hop.egress_mac, hop.vlans) if hop else None,
        ice=plan.ice,
        copies=plan.copies,
    )


def _statistics(counted: EngineStatistics) -> FlowStatistics:
    return FlowStatistics(
        packets=counted.packets,
        bytes=counted.bytes,
        lost=counted.lost,
        reordered=counted.reordered,
        duplicates=counted.duplicates,
        resets=counted.resets,
        ssrc_changes=counted.ssrc_changes,
        jitter_ms=None if counted.jitter is None else counted.jitter * 1000,
        largest_gap_ms=counted.largest_gap * 1000,
        last_seen=counted.last_seen,
        ssrc=counted.ssrc,
        payload_type=counted.payload_type,
        dscp=None if counted.tos is None else counted.tos >> 2,
        rejected=counted.rejected,
        rejected_source=counted.rejected_source,
        dropped=counted.dropped,
        last_reason=counted.last_reason,
        learned_port=counted.learned_port,
        learned_source=_learned_source(counted),
        forged=counted.forged,
        replayed=counted.replayed,
        received_by=counted.received_by,
        sent_by=counted.sent_by,
        security=counted.security,
        suite=counted.suite,
        sequence=counted.sequence,
        timestamp=counted.timestamp,
    )


def _learned_source(counted: EngineStatistics) -> Endpoint | None:
    if counted.learned_port is None:
        return None
    return counted.learned_address or counted.flow.source_address, counted.learned_port
