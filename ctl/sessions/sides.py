# SPDX-License-Identifier: GPL-3.0-or-later
"""What the planner is told of a leg: what it has said, and what was asked of our side toward it, m-line by m-line."""

from __future__ import annotations

from collections.abc import Mapping

from ctl.sessions import ice_exchange
from ctl.sessions.call_media import Media
from ctl.sessions.codecs import Dtmf
from ctl.sessions.dataplane import DataPlane
from ctl.sessions.flow_plan import Kind
from ctl.sessions.ice import IcePair, IceSide
from ctl.sessions.reachable import Routes, peer_address
from ctl.sessions.relay_choice import Moves
from ctl.sessions.security import PLAIN, Protection
from ctl.sessions.streams import Endpoint, Stream
from ctl.sessions.terms import USUAL, Terms
from sip.effects import Leg
from sip.facts import fact


@fact
class Side:
    """The relay's side of one leg's stream: where that leg sends to, and the interface that leads to the leg.

    relay is address and RTP port; RTCP is at the port above. latch: the leg may send from anywhere. mux: whether its
    RTCP comes beside RTP; None: if both legs say so.
    """

    stream: Stream
    relay: Endpoint
    interface: str
    latch: bool = False
    protection: Protection = PLAIN
    mux: bool | None = None
    terms: Terms = USUAL
    ice: IceSide | None = None
    dtmf: Dtmf = "auto"
    """How digits reach the leg."""
    moves: Moves = ""
    ptime: int = 0
    """Milliseconds of sound in each packet to the leg; 0: not said."""

    @property
    def latches(self) -> bool:
        """Whether its source is found by what it sends; ICE, and DTLS for its address, know better."""
        return (self.latch or bool(self.moves)) and not self.ice

    def pair(self, kind: Kind) -> IcePair | None:
        """How far ICE is with a component; None without ICE."""
        return self.ice.pair(self.local(kind)) if self.ice else None

    def local(self, kind: Kind) -> Endpoint:
        """Return where it receives: RTCP at the port above RTP."""
        address, port = self.relay
        return (address, port + 1) if kind == "rtcp" else (address, port)


Sides = list[Side | None]


def sides(media: Media, pairs: Mapping[Endpoint, IcePair], plane: DataPlane, routes: Routes) -> tuple[Sides, Sides]:
    """Return the sides of the m-lines of leg a, and of leg b; None for refused ones. pairs: what ICE has found."""
    lines = range(len(media.streams["a"]))
    return (
        [_side(media, "a", index, pairs, plane, routes) for index in lines],
        [_side(media, "b", index, pairs, plane, routes) for index in lines],
    )


def _side(
    media: Media, leg: Leg, index: int, pairs: Mapping[Endpoint, IcePair], plane: DataPlane, routes: Routes
) -> Side | None:
    port, stream, relay = media.port(leg, index), media.streams[leg][index], media.relays[leg]
    if port is None or not stream.rtp_port:
        return None
    ice = ice_exchange.side(media, pairs, leg, index)
    pair = ice.pair((relay, port)) if ice else None
    peer = pair.remote[0] if pair and pair.remote else peer_address(stream)
    route = None if stream.inside else routes.route(peer, relay)
    protections = media.protections.get(leg, ())
    protection = protections[index] if index < len(protections) else PLAIN
    interface = route.interface if route else plane.interfaces[relay]
    muxed = media.muxed.get(leg, ())
    mux = muxed[index] if index < len(muxed) else None
    said = media.dtmf.get(leg, "auto"), media.moves.get(leg, ""), media.ptimes.get(leg, 0) if media.ptimes else 0
    return Side(stream, (relay, port), interface, leg in media.latching, protection, mux, media.terms, ice, *said)
