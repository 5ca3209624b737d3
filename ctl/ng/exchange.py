# SPDX-License-Identifier: GPL-3.0-or-later
"""Hands the descriptions that proxies send to the media sessions, as the proxy asks, and writes what goes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from hashlib import blake2b

import structlog

from ctl.network.addresses import unspecified
from ctl.ng import holding
from ctl.ng.attributes import amended
from ctl.ng.describe import Line, describe, say_deaf
from ctl.ng.errors import NgError
from ctl.ng.filters import show, strip
from ctl.ng.hiding import Hiding
from ctl.ng.options import Options, options, received_from
from ctl.ng.request import Request
from ctl.sessions.call_media import Media
from ctl.sessions.descriptions import Description
from ctl.sessions.ice import candidates as usable_candidates
from ctl.sessions.ice_exchange import own_at
from ctl.sessions.media_sessions import MediaRefused, MediaSessions
from ctl.sessions.relay_choice import Facing
from ctl.sessions.terms import Terms, is_offered
from sip.effects import Leg
from sip.errors import SdpError
from sip.sdp import Media as Medium
from sip.sdp import SessionDescription

OUT_OF_PORTS = "Ran out of ports"
WORDS_TOLD = 256
"""So many words that nobody knows are reported; a proxy that sends more of them sends anything."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Style:
    """What a description of one call is to look like, beside what a proxy asks of all. label: of every medium. hiding:
    what either side does not see. moh: what is played where the offerer holds.
    """

    label: str | None = None
    hiding: Hiding | None = None
    moh: holding.Music | None = None


@dataclass
class Exchange:
    """Of all calls. steady: a clock that never steps. tos: of calls for which nobody names one, -1: as it came.

    refused: called when there are no ports.
    """

    sessions: MediaSessions
    steady: Callable[[], float]
    secret: bytes
    tos: int
    refused: Callable[[], None]
    _told: set[str] = field(default_factory=set)

    def options(self, request: Request) -> Options:
        """Read what a request asks for, and report words that nobody knows. Raises NgError."""
        asked = options(request)
        for word in asked.unknown:
            if word not in self._told and len(self._told) < WORDS_TOLD:
                self._told.add(word)
                log.warning("a word of the ng protocol is not known and has no effect", word=word)
        return asked

    def terms(self, asked: Options) -> Terms:
        """What is asked of a whole exchange."""
        tos = self.tos if asked.tos is None else asked.tos
        return Terms(
            asked.mux, tos >> 2 if tos >= 0 else None, asked.codecs.bridged, asked.codecs.bitrate, asked.reports
        )

    def known(self, asked: Facing) -> Facing:
        """A name that is none of our interfaces' says nothing, as with other relays."""
        names = {each.name for each in self.sessions.data_plane.addresses}
        return asked if asked.interface in names else replace(asked, interface="")

    def hand(
        self,
        exchange: Callable[..., bytes],
        session: str,
        leg: Leg,
        sdp: bytes | Description,
        asked: Options,
        request: Request,
        style: Style | None = None,
    ) -> bytes:
        """Hand a description to the media sessions; they hand back what `_write` makes of it. Raises NgError."""
        style = style or Style()
        try:
            description = sdp if isinstance(sdp, Description) else Description(sdp)
            source = received_from(request) or _first_address(description.sdp)
        except SdpError:
            raise NgError("Failed to parse SDP") from None
        strip(description.sdp, asked.codecs)
        unseen = style.hiding.apply(description.sdp) if style.hiding else frozenset()
        write = partial(_write, asked, style, self._mark, unseen)
        try:
            return exchange(session, leg, description, source, self.steady(), write=write)
        except MediaRefused as refused:
            if refused.status == 503 and "port" in refused.reason:
                self.refused()
                raise NgError(OUT_OF_PORTS) from None
            raise NgError(refused.reason) from None

    def is_ours(self, sdp: bytes) -> bool:
        """Whether a description has been here already."""
        return f"a=rtpengine:{self._mark}".encode() in sdp

    @cached_property
    def _mark(self) -> str:
        """What our descriptions are known by, should they come back: twelve digits that nobody else can say."""
        return blake2b(b"loop", key=self.secret, digest_size=6).hexdigest()


def _first_address(sdp: SessionDescription) -> str:
    """Return where media comes from, by the description itself: a proxy that does not say where its request is from
    trusts that. Raises SdpError.
    """
    found = (sdp.connection_of(medium) for medium in sdp.media)
    named = [each.address for each in found if each]
    candidates = [each.address for medium in sdp.media for each in usable_candidates(medium)]
    meant = [each for each in (*named, *candidates) if not unspecified(each)]
    return next(iter((*meant, *named)), sdp.origin.connection.address)


def _write(
    asked: Options,
    style: Style,
    mark: str,
    unseen: frozenset[int],
    description: Description,
    media: Media,
    toward: Leg,
) -> bytes:
    description.stand_alone()
    if not asked.manner.original_direction:
        say_deaf(description.sdp)
    show(description.sdp, asked.codecs, answer=media.agreed)
    lines = [
        None if index in unseen else _line(medium, media, toward, index)
        for index, medium in enumerate(description.sdp.media)
    ]
    if style.moh and media.agreed:
        holding.answered(description.sdp, media.streams[toward])
    elif style.moh:
        holding.offered(description.sdp, style.moh, media.address(toward))
    address, ptime = asked.media_address or media.address(toward), media.ptimes.get(toward, 0) if media.ptimes else 0
    body = describe(description.sdp, address, lines, asked.manner, style.label, mark, ptime)
    return amended(body, asked.amendments) if asked.amendments else body


def _line(medium: Medium, media: Media, toward: Leg, index: int) -> Line:
    """An offer of multiplexing names a port for RTCP too, for those who cannot (RFC 5761 section 5.1.1)."""
    port = media.port(toward, index)
    if not medium.port or port is None:
        return Line(None)
    if "RTP/" not in medium.proto:
        return Line(port)
    if media.agreed:
        mux = media.muxed[toward][index]
        return Line(port, port if mux else port + 1, mux, own_at(media, toward, index))
    mux = is_offered(media.terms.mux, medium.rtcp_mux)
    return Line(port, port if media.terms.mux.offered == "alone" else port + 1, mux, own_at(media, toward, index))
