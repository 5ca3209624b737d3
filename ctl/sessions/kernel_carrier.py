# SPDX-License-Identifier: GPL-3.0-or-later
"""What XDP forwards: pairs of plans as rules of the kernel's flow table."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from ctl.kernel.flowrule import (
    NANOSECONDS,
    NO_MAC,
    TO_STACK,
    Endpoint,
    FlowAction,
    FlowFlag,
    FlowRule,
    FlowState,
    FlowStatistics,
    jitter_ms,
)
from ctl.kernel.flowtable import FlowColumns
from ctl.network.nexthop import NextHop
from ctl.observe.quality import Sample
from ctl.sessions.carrier import UNBOUND, Bound, Counts, Hops, codec_of
from ctl.sessions.flow_plan import FlowPlan, Kind, Pair

LATCH_PACKETS = 5
KINDS: tuple[Kind, ...] = ("rtp", "rtcp", "raw")


class Table(Protocol):
    """What is asked of `ctl.kernel.flowtable.FlowTable`."""

    def index(self, address: str, port: int) -> int:
        """Return the place of a relay address and port; ValueError if the table has none."""

    def local(self, index: int) -> Endpoint:
        """Return the relay address and port of a place."""

    def write_pair(self, first: tuple[int, FlowRule], second: tuple[int, FlowRule], *, fresh: bool = True) -> None:
        """Write both flows under one generation."""

    def set_flags(self, index: int, flags: FlowFlag, clear: FlowFlag = FlowFlag.NONE) -> None:
        """Set and clear flags of a flow that goes on."""

    def rule(self, index: int) -> FlowRule | None:
        """Return the rule as it was written."""

    def settled(self, index: int) -> bool:
        """Return whether the flow's source has yielded a packet, so that the previous one has lost its right."""

    def off(self, index: int) -> None:
        """Drop every packet from now on."""

    def read_many(self, indexes: Iterable[int]) -> list[FlowStatistics]:
        """Return what was counted of each."""

    def columns(self, indexes: Sequence[int]) -> FlowColumns:
        """Return the counters of many flows, far quicker than by `read`."""

    def active(self) -> Iterable[int]:
        """Return the places of the flows that are on."""


class KernelCarrier:
    """Flows that XDP forwards. `flags` are set on every flow, and by `mark` more on some of them.

    latch_packets: how many bind a latching one.
    """

    def __init__(
        self, table: Table, hops: Hops, flags: FlowFlag = FlowFlag.NONE, latch_packets: int = LATCH_PACKETS
    ) -> None:
        self._latch_packets = latch_packets
        self._table = table
        self._hops = hops
        self._usual = {(kind, mux): _flags(flags, kind, mux) for kind in KINDS for mux in (False, True)}
        self._marks: dict[int, FlowFlag] = {}

    def mark(self, local: Endpoint, flag: FlowFlag) -> int:
        """Set a flag on one flow, for all its rules to come until it ends; return its place in the table."""
        index = self._table.index(*local)
        if not self._marks.get(index, FlowFlag.NONE) & flag:
            self._marks[index] = self._marks.get(index, FlowFlag.NONE) | flag
            self._table.set_flags(index, flag)
        return index

    def unmark(self, local: Endpoint, flag: FlowFlag) -> None:
        """Take a flag off one flow again, if it has it."""
        index = self._table.index(*local)
        if self._marks.get(index, FlowFlag.NONE) & flag:
            self._marks[index] &= ~flag
            self._table.set_flags(index, FlowFlag.NONE, flag)

    def write(self, pair: Pair, fresh: bool, bound: Bound = UNBOUND) -> None:
        """Write both flows. An unknown next hop leaves the kernel to ask its own routing table.

        Where flows are only to be held they are switched off, and a packet of the other direction never sees the
        gap of a rewrite.
        """
        wanted = self._rules(pair, [self._hop(plan) for plan in pair])
        if fresh:
            there, back = (
                (index, rule if each is None else replace(rule, bound=each))
                for (index, rule), each in zip(wanted, bound, strict=True)
            )
            self._table.write_pair(there, back)
            return
        first, second = ((index, replace(rule, previous_source=self._previous(index, rule))) for index, rule in wanted)
        differing = [(index, rule) for index, rule in (first, second) if self._table.rule(index) != rule]
        if not all(self._only_held(index, rule) for index, rule in differing):
            self._table.write_pair(first, second, fresh=False)
            return
        for index, _ in differing:
            self._table.off(index)

    def hand_up(self, pair: Pair, seat: int | None = None) -> None:
        """Let what reaches the pair pass to the engine's sockets; nothing where XDP does not guard the ports.

        seat: the worker that has it, if that is known.
        """
        try:
            first, second = self._rules(pair)
        except ValueError:
            return
        self._table.write_pair((first[0], _above(first[1], seat)), (second[0], _above(second[1], seat)), fresh=True)

    def hand_up_early(self, local: Endpoint) -> None:
        """Let what reaches an RTP port and the one above pass to the sockets that are bound there, as `hand_up` does.

        A worker does not know the ports yet, so that AF_XDP must not have it.
        """
        try:
            rtp, rtcp = (self._table.index(local[0], port) for port in (local[1], local[1] + 1))
        except ValueError:
            return
        rule = FlowRule(FlowState.PINNED, local, local, local, FlowAction.ENGINE, seat=TO_STACK)
        self._table.write_pair((rtp, rule), (rtcp, rule), fresh=True)

    def holds(self, pair: Pair) -> bool:
        """Whether the kernel has these very rules. A next hop that it has and we do not know yet counts as right."""
        for index, wanted in self._rules(pair, [self._hop(plan) for plan in pair]):
            rule = self._table.rule(index)
            if rule is None:
                return False
            wanted = replace(wanted, previous_source=rule.previous_source)
            if rule != (wanted if wanted.ifindex else _with_hop_of(wanted, rule)):
                return False
        return True

    def read(self, plans: Sequence[FlowPlan]) -> list[FlowStatistics | None]:
        """Return what the kernel counted."""
        return list(self._table.read_many([self._table.index(*plan.local) for plan in plans]))

    def last_seen(self, plans: Sequence[FlowPlan]) -> list[float | None]:
        """Return when each was last forwarded a packet."""
        columns = self._table.columns(array("I", [self._table.index(*plan.local) for plan in plans]))
        return [nanoseconds / NANOSECONDS for nanoseconds in columns.last_seen]

    def sum(self, plans: Sequence[FlowPlan]) -> Counts:
        """Return what they have counted together, in one pass of C."""
        columns = self._table.columns(array("I", [self._table.index(*plan.local) for plan in plans]))
        return Counts(*(sum(getattr(columns, name)) for name in Counts._fields))

    def samples(self, plans: Sequence[FlowPlan]) -> list[Sample | None]:
        """Return what quality is judged by, in one pass of C."""
        columns = self._table.columns(array("I", [self._table.index(*plan.local) for plan in plans]))
        judged = (columns.packets, columns.lost, columns.jitter, columns.last_seen, columns.payload_type)
        return [
            Sample(
                packets,
                lost,
                jitter_ms(jitter, plan.clock_rate) if plan.clock_rate else None,
                last_seen / NANOSECONDS,
                codec_of(plan, payload_type),
            )
            for plan, packets, lost, jitter, last_seen, payload_type in zip(plans, *judged, strict=True)
        ]

    def end(self, pair: Pair) -> list[FlowStatistics | None]:
        """Switch both flows off, then read them."""
        for plan in pair:
            index = self._table.index(*plan.local)
            self._marks.pop(index, None)
            self._table.off(index)
        return self.read(pair)

    def leave(self, pair: Pair) -> list[FlowStatistics | None]:
        """Nothing: the engine has had the kernel's entries rewritten, so that they hand packets up."""
        return []

    def locals(self) -> set[Endpoint]:
        """Return the relay address and port of every flow that is on."""
        return {self._table.local(index) for index in self._table.active()}

    def off(self, local: Endpoint) -> None:
        """Switch one flow off, if the table has a place for it."""
        try:
            self._table.off(self._table.index(*local))
        except ValueError:
            return

    def _only_held(self, index: int, wanted: FlowRule) -> bool:
        rule = self._table.rule(index)
        return rule is not None and replace(rule, state=FlowState.OFF) == wanted

    def _rules(
        self, pair: Pair, hops: Sequence[NextHop | None] = (None, None)
    ) -> tuple[tuple[int, FlowRule], tuple[int, FlowRule]]:
        """Return where and what both flows are; what has no next hop is routed by the kernel's own table."""
        first, second = (self._table.index(*plan.local) for plan in pair)
        there, back = hops
        return (first, self._rule(pair[0], first, second, there)), (second, self._rule(pair[1], second, first, back))

    def _rule(self, plan: FlowPlan, index: int, partner: int, hop: NextHop | None) -> FlowRule:
        address, port = plan.source
        flags, mark = self._usual[plan.kind, plan.mux], self._marks.get(index)
        return FlowRule(
            state=_state(plan),
            action=_action(plan),
            source=(address, port or 0),
            egress=plan.egress,
            target=plan.target,
            flags=flags | mark if mark else flags,
            ifindex=hop.ifindex if hop else 0,
            target_mac=hop.target_mac if hop else NO_MAC,
            egress_mac=hop.egress_mac if hop else NO_MAC,
            vlans=hop.vlans if hop else (),
            clock_rate=plan.clock_rate,
            partner=partner,
            latch_packets=self._latch_packets,
            police=plan.police,
            dtmf_type=plan.dtmf_type,
            dscp=plan.dscp,
            demux=plan.demux,
            stun=plan.ice is not None,
        )

    def _previous(self, index: int, wanted: FlowRule) -> Endpoint | None:
        """Return the source that goes on being heard until the wanted one yields a packet.

        The one of now, if it is to be another; where that has not yielded any either, the one before it.
        """
        rule = self._table.rule(index)
        if rule is None or FlowState.OFF in (rule.state, wanted.state) or rule.action != wanted.action:
            return None
        if rule.previous_source and not self._table.settled(index):
            return None if rule.previous_source == wanted.source else rule.previous_source
        if (rule.state, rule.source) == (wanted.state, wanted.source):
            return None
        return rule.source if rule.state == FlowState.PINNED else self._table.read_many([index])[0].learned_source

    def _hop(self, plan: FlowPlan) -> NextHop | None:
        return self._hops.resolve(plan.target[0], plan.egress[0])


def _flags(usual: FlowFlag, kind: Kind, mux: bool) -> FlowFlag:
    """Of what is raw nothing is copied as if it were RTCP."""
    if kind == "raw":
        return usual & ~FlowFlag.RTCP_COPY | FlowFlag.RTCP
    if kind == "rtcp":
        return usual | FlowFlag.RTCP
    return usual | FlowFlag.RTCP_MUX if mux else usual


def _action(plan: FlowPlan) -> FlowAction:
    if plan.held and plan.ice:
        return FlowAction.DROP
    return FlowAction.RAW if plan.kind == "raw" else FlowAction.FORWARD


def _state(plan: FlowPlan) -> FlowState:
    if plan.held and not plan.ice:
        return FlowState.OFF
    if plan.latch:
        return FlowState.LATCHING
    return FlowState.LEARNING if plan.source[1] is None else FlowState.PINNED


def _above(rule: FlowRule, seat: int | None) -> FlowRule:
    return replace(rule, state=FlowState.PINNED, action=FlowAction.ENGINE, seat=seat)


def _with_hop_of(rule: FlowRule, other: FlowRule) -> FlowRule:
    return replace(
        rule, ifindex=other.ifindex, target_mac=other.target_mac, egress_mac=other.egress_mac, vlans=other.vlans
    )
