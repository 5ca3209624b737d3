# SPDX-License-Identifier: GPL-3.0-or-later
"""One flow as people see it, and many summed up."""

from __future__ import annotations

from typing import Literal

from ctl.kernel.flowrule import Endpoint, FlowStatistics
from ctl.observe.quality import Direction, Quality
from ctl.sessions.carrier import Counts, codec_of
from ctl.sessions.flow_plan import FlowPlan, Kind, Path
from ctl.sessions.relay_choice import Moves
from media.ice import IceState
from sip.effects import Leg
from sip.facts import fact


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
    moves: Moves = ""
    transcoded: bool = False


@fact
class FlowSum:
    """What flows of one path, leg and reason have counted together, RTCP included."""

    path: Path
    leg: Leg
    reason: str
    flows: int
    counts: Counts


def view(call: str, plan: FlowPlan, statistics: FlowStatistics | None, quality: Quality) -> FlowView:
    """Return a flow as it stands. statistics: None if its carrier lost it; quality: of all calls."""
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
        quality=quality.of(call, plan.stream, plan.leg) if media else None,
        round_trip=quality.round_trip(call, plan.stream) if media else None,
        round_trip_avg=quality.round_trip_avg(call, plan.stream) if media else None,
        ice=plan.ice_state,
        moves=plan.moves,
        transcoded=plan.transcoding is not None,
    )


def _state(plan: FlowPlan, learned: int | None) -> Literal["held", "checking", "learning", "latching", "pinned"]:
    if plan.held:
        return "held"
    if plan.source[1] or learned:
        return "pinned"
    return "checking" if plan.ice else "latching" if plan.latch else "learning"


def _name(plan: FlowPlan) -> str:
    address, port = plan.local
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
