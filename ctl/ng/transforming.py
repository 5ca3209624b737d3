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
from ctl.ng.calls import Call, Dialogue, Participant
from ctl.ng.errors import NgError
from ctl.ng.exchange import Exchange
from ctl.ng.options import Options
from ctl.ng.request import Request
from ctl.ng.transformations import Transformation, description, read
from ctl.sessions.descriptions import Description, redirected
from ctl.sessions.media_sessions import MediaRefused, MediaSessions, Writer
from sip.effects import Leg
from sip.sdp import SessionDescription

TAG_BYTES = 16


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
        tag = request.text("from-tag") or self.draw(TAG_BYTES).hex()
        found = call.find(tag)
        source = found or Participant(created=now, tag=tag)
        known = next((each for each in call.dialogues_of(source) if each.transformed), None)
        if found and known is None:
            raise NgError("from-tag: a participant of that tag has offered, answered or published")
        dialogue = known or Dialogue(call.next_session(), source, source, transcoded=True)
        said = description([each.input() for each in media], media[0].destination[0])
        try:
            carry = partial(self._carry, asked, media)
            body = self.exchange.hand(carry, dialogue.session, "a", said, asked, request)
        except NgError:
            if known is None:
                self.sessions.delete(dialogue.session, self.exchange.steady())
            raise
        if known is None:
            call.participants.append(source)
            call.dialogues.append(dialogue)
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
        try:
            return self.sessions.answer(session, "b", heard, address, now, write=write, transcode=False)
        except MediaRefused:
            self.sessions.rollback(session, now)
            raise


def _where(media: Sequence[Transformation], body: bytes) -> list[dict[str, Any]]:
    """Return our address and port for each medium, as the description toward the sender has them."""
    said = SessionDescription.parse(body)
    places = []
    for each, medium in zip(media, said.media, strict=True):
        address = (said.connection_of(medium) or said.origin.connection).address
        places.append({"id": each.name, "family": f"IP{family_of(address)}", "address": address, "port": medium.port})
    return places
