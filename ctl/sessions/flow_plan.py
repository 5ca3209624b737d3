# SPDX-License-Identifier: GPL-3.0-or-later
"""What a flow is to be, one direction of one stream's RTP or RTCP, and what tells two plans of a call apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from typing import Literal

from ctl.sessions.codecs import Transcoding
from ctl.sessions.policing import Limit
from ctl.sessions.relay_choice import Moves
from ctl.sessions.streams import Codec, Endpoint
from ctl.sessions.treatment import Handling
from media.flows import EngineDtls, EngineKeys
from media.ice import EngineIce, IceState
from sip.effects import Leg
from sip.facts import fact

Kind = Literal["rtp", "rtcp", "raw"]
"""raw: what is neither, such as UDPTL."""
Path = Literal["kernel", "engine", "none"]


@fact
class FlowPlan:
    """One direction of one stream's RTP or RTCP. `leg` is the one that sends it; `stream` counts m-lines from 0.

    A source port of None is learned; latch: the address too. held: known, but nothing may pass for now. police:
    packets per second and at once, None: any number. mux: RTCP comes on this port as well. dtmf_type: payload type of
    telephone events.
    """

    leg: Leg
    stream: int
    kind: Kind
    local: Endpoint
    source: tuple[str, int | None]
    egress: Endpoint
    target: Endpoint
    clock_rate: int
    path: Path
    reason: str = ""
    """Why the flow is not in the kernel; empty if it is."""
    held: bool = False
    latch: bool = False
    moves: Moves = ""
    police: Limit | None = None
    mux: bool = False
    """RTCP comes beside RTP."""
    demux: bool = False
    """That RTCP goes on as what reaches the port above does: the other leg has RTCP on a port of its own."""
    echo: bool = False
    """What comes goes back to `leg`, from the port that it came to."""
    dscp: int | None = None
    """0-63 of what goes out; None: as it came."""
    dtmf_type: int | None = None
    dtmf_clock: int = 0
    """Hz by which telephone events last; 0: by those of the codec."""
    open: EngineKeys | None = None
    """The engine unprotects what comes in by these."""
    seal: EngineKeys | None = None
    """The engine protects what goes out by these."""
    dtls: EngineDtls | None = None
    """The engine gets keys by DTLS with the source, for both directions."""
    codecs: tuple[Codec, ...] = field(default=(), compare=False)
    """What RTP may carry, the likeliest first. To name things by: two plans that differ in this alone are equal."""
    transcoding: Transcoding | None = None
    """None: packets pass as they are."""
    ice: EngineIce | None = None
    """The engine speaks ICE with the leg, whoever carries the packets."""
    ice_state: IceState = "off"
    house: bool = False
    """One of the two is ourselves: what `leg` hears of the other is played, or what it sends goes nowhere."""
    handling: Handling | None = None
    """What the engine does with it beyond carrying it."""
    reports: bool = False
    """RTCP of both legs ends at the engine, which reports by itself."""
    copies: tuple[Endpoint, ...] = ()
    """Local ends of other flows that get its RTP too, for subscribers."""

    @property
    def secured(self) -> bool:
        """Whether the engine opens or seals something here."""
        return bool(self.open or self.seal or self.dtls)


Pair = tuple[FlowPlan, FlowPlan]
"""Both directions of one stream's RTP or RTCP: from leg a, from leg b."""


Key = tuple[Endpoint, Endpoint]
"""A pair by the local addresses of both its flows."""


@fact
class Difference:
    """What a change of plans asks for: pairs that end, and pairs to write because they are new or differ."""

    gone: tuple[Pair, ...] = field(default=())
    written: tuple[Pair, ...] = field(default=())


def pairs(plans: Iterable[FlowPlan]) -> dict[Key, Pair]:
    """Put both directions together; the keys are the local addresses of the pair."""
    halves: dict[tuple[int, Kind], dict[Leg, FlowPlan]] = {}
    for plan in plans:
        halves.setdefault((plan.stream, plan.kind), {})[plan.leg] = plan
    return {(half["a"].local, half["b"].local): (half["a"], half["b"]) for half in halves.values()}


def key(pair: Pair) -> Key:
    """Return what tells a pair from all others."""
    return pair[0].local, pair[1].local


def difference(before: Iterable[FlowPlan], after: Iterable[FlowPlan]) -> Difference:
    """Say what leads from one plan of a call to another; pairs that are equal in both are not named."""
    old, new = pairs(before), pairs(after)
    return Difference(
        gone=tuple(pair for key, pair in old.items() if key not in new),
        written=tuple(pair for key, pair in new.items() if old.get(key) != pair),
    )
