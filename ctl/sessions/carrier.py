# SPDX-License-Identifier: GPL-3.0-or-later
"""What carries packets, behind one face: each carrier knows how a pair of plans is written, compared, read and ended.

Which of them a pair goes to was decided in its plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ctl.kernel.flowrule import Endpoint, FlowStatistics
from ctl.network.nexthop import NextHop
from ctl.observe.quality import Sample
from ctl.sessions.flow_plan import FlowPlan, Pair


class Counts(NamedTuple):
    """Sums over flows; bytes of UDP payload."""

    packets: int = 0
    bytes: int = 0
    lost: int = 0
    reordered: int = 0
    duplicates: int = 0


Bound = tuple[Endpoint | None, Endpoint | None]
"""What the source of each flow of a pair is bound to already."""
UNBOUND: Bound = (None, None)


class Hops(Protocol):
    """What is asked of `ctl.network.nexthop.NextHops`."""

    def resolve(self, target: str, source: str = "") -> NextHop | None:
        """Return the next hop to `target` from `source`, if it is known."""

    def forget(self, target: str, source: str = "") -> None:
        """Watch this peer no longer."""


class Carrier(Protocol):
    """What the programmer asks of either."""

    def write(self, pair: Pair, fresh: bool, bound: Bound = UNBOUND) -> None:
        """Write both flows; counters begin at zero if `fresh`, else they and what was learned go on.

        bound: the sources that another carrier had learned, which a fresh flow is bound to at once.
        """

    def holds(self, pair: Pair) -> bool:
        """Whether both flows are there already, just as they would be written."""

    def read(self, plans: Sequence[FlowPlan]) -> list[FlowStatistics | None]:
        """Return what was counted for each; None for what is not there."""

    def last_seen(self, plans: Sequence[FlowPlan]) -> list[float | None]:
        """Return when each had its last packet, in seconds of CLOCK_MONOTONIC; 0: never, None: it is not there."""

    def samples(self, plans: Sequence[FlowPlan]) -> list[Sample | None]:
        """Return what quality is judged by, for many flows at once; None for what is not there."""

    def sum(self, plans: Sequence[FlowPlan]) -> Counts:
        """Return what they have counted together."""

    def end(self, pair: Pair) -> list[FlowStatistics | None]:
        """Let nothing more through, then return the last statistics."""

    def leave(self, pair: Pair) -> list[FlowStatistics | None]:
        """Forget both flows, which another carrier has taken over; return their last statistics if there still are."""

    def locals(self) -> set[Endpoint]:
        """Return the relay address and port of every flow that is on."""

    def off(self, local: Endpoint) -> None:
        """End the flow there, whosever it is."""


def sample(plan: FlowPlan, counted: FlowStatistics) -> Sample:
    """Return what quality is judged by."""
    seen = codec_of(plan, counted.payload_type)
    return Sample(counted.packets, counted.lost, counted.jitter_ms, counted.last_seen or 0.0, seen)


def codec_of(plan: FlowPlan, payload_type: int | None) -> str:
    """Return the name of the codec last seen or, where that is none, of the likeliest; empty for RTCP.

    A payload type that is no codec, as that of telephone events, says nothing.
    """
    for codec in plan.codecs:
        if codec.payload_type == payload_type:
            return codec.name
    return plan.codecs[0].name if plan.codecs else ""


def has_ice(pair: Pair) -> bool:
    """Whether the engine's sockets speak ICE for one of the two."""
    return any(plan.ice for plan in pair)
