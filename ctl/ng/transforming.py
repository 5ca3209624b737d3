# SPDX-License-Identifier: GPL-3.0-or-later
"""Sound from anybody to an address, in another codec: what a relay without an engine has others do for it.

To the media sessions it is a call whose legs the proxy has described: who sends, and the destination, which only hears.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ctl.network.addresses import family_of
from ctl.ng.calls import Call, Participant
from ctl.ng.errors import NgError
from ctl.ng.exchange import Exchange
from ctl.ng.lone import alone, answer_for, tag_of
from ctl.ng.options import Options
from ctl.ng.request import Request
from ctl.ng.transformations import Transformation, description, read
from ctl.sessions.descriptions import Description, redirected
from ctl.sessions.media_sessions import MediaSessions, Writer
from sip.effects import Leg
from sip.sdp import SessionDescription


@dataclass
class Transforming:
    """Of all calls. draw: random bytes for tags of those that have none."""

    sessions: MediaSessions
    exchange: Exchange
    draw: Callable[[int], bytes] = secrets.token_bytes

    def transform(self, request: Request, call: Call, now: float) -> dict[str, Any]:
        """Begin to transform, or change what the same tag has asked for; return the tag, and where media is to come.

        Raises NgError, and what was goes on.
        """
        media = read(request.values.get("media"))
        asked = self.exchange.options(request)
        tag = tag_of(request, self.draw)
        found = call.find(tag)
        source = found or Participant(created=now, tag=tag)
        known = next((each for each in call.dialogues_of(source) if each.transformed), None)
        if found and known is None:
            raise NgError("from-tag: a participant of that tag has offered, answered or published")
        said = description([each.input() for each in media], media[0].destination[0])
        carry = partial(self._carry, asked, media)
        with alone(self.sessions, call, source, known, self.exchange.steady, transcoded=True) as dialogue:
            body = self.exchange.hand(carry, dialogue.session, "a", said, asked, request)
        if known is None:
            call.participants.append(source)
        return {"from-tag": tag, "media": _where(media, body)}

    def _carry(
        self,
        asked: Options,
        media: Sequence[Transformation],
        session: str,
        leg: Leg,
        sender: Description,
        source: str,
        now: float,
        *,
        write: Writer,
    ) -> bytes:
        """Whoever sends first is taken for the sender: nobody says who it is."""
        address = media[0].destination[0]
        family, known = family_of(address), self.exchange.known
        here = replace(known(asked.here), latch=True, ice="remove", family=family)
        there = replace(known(asked.there), latch=False, ice="remove", family=family)
        terms = replace(self.exchange.terms(asked), bridged=True)
        self.sessions.offer(
            session, leg, sender, source, now, address, here, there, redirected, transcode=(), terms=terms
        )
        heard = description([each.output() for each in media], address)
        return answer_for(self.sessions, session, heard, address, now, write)


def _where(media: Sequence[Transformation], body: bytes) -> list[dict[str, Any]]:
    """Return our address and port for each medium, as the description toward the sender has them."""
    said = SessionDescription.parse(body)
    places = []
    for each, medium in zip(media, said.media, strict=True):
        address = (said.connection_of(medium) or said.origin.connection).address
        places.append({"id": each.name, "family": f"IP{family_of(address)}", "address": address, "port": medium.port})
    return places
