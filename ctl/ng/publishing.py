# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody who sends and hears nothing: a participant alone, for others to subscribe to."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ctl.ng.calls import Call, participant
from ctl.ng.errors import NgError
from ctl.ng.exchange import Exchange
from ctl.ng.lone import alone, answer_for, tag_of
from ctl.ng.options import Options
from ctl.ng.request import Request
from ctl.sessions.descriptions import Description, redirected
from ctl.sessions.house import INSIDE, listener
from ctl.sessions.media_sessions import MediaSessions, Writer
from ctl.sessions.terms import beside
from sip.effects import Leg
from sip.sdp import SessionDescription


@dataclass
class Publishing:
    """Of all calls. draw: random bytes for tags of those that have none."""

    sessions: MediaSessions
    exchange: Exchange
    draw: Callable[[int], bytes] = secrets.token_bytes

    def publish(self, request: Request, call: Call, sdp: bytes, now: float) -> dict[str, Any]:
        """Answer a description as somebody who listens; return the answer, and the tag of who published.

        Raises NgError, and what was goes on.
        """
        asked = self.exchange.options(request)
        tag = tag_of(request, self.draw)
        source = participant(call, tag, now)
        source.label = request.text("set-label") or request.text("label") or source.label
        known = next((each for each in call.dialogues_of(source) if each.published), None)
        if known and known.transformed:
            raise NgError("from-tag: what comes from there is transformed")
        accepted = frozenset(name.lower() for name in request.codecs.get("accept", ()))
        exchange = partial(self._listen, asked, accepted)
        manner = replace(asked.manner, replace_origin=True)
        with alone(self.sessions, call, source, known, self.exchange.steady) as dialogue:
            body = self.exchange.hand(exchange, dialogue.session, "a", sdp, replace(asked, manner=manner), request)
        return {"sdp": body, "from-tag": tag}

    def _listen(
        self,
        asked: Options,
        accepted: frozenset[str],
        session: str,
        leg: Leg,
        description: Description,
        source: str,
        now: float,
        *,
        write: Writer,
    ) -> bytes:
        here = self.exchange.known(asked.here)
        toward = self.sessions.offer(
            session,
            leg,
            description,
            source,
            now,
            source,
            here,
            replace(here, ice="remove"),
            redirected,
            bridge=INSIDE,
            transcode=(),
            terms=beside(here.ice != "remove", other=False),
        )
        said = SessionDescription.parse(toward)
        address = said.connection_of(said.media[0]) if said.media else None
        ours = (address or said.origin.connection).address
        heard = listener(toward, accepted)
        return answer_for(self.sessions, session, heard, ours, now, write)
