# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells proxies which digits are dialled: a JSON object in a datagram each, as Kamailio's dtmf_events_sock reads it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Sequence

import structlog

from ctl.ng.calls import Calls
from ctl.ng.media import DIGITS
from ctl.sessions.media_sessions import MediaSessions
from sip.effects import Leg

USUAL_VOLUME = 10
"""-dBm0, where it is not known."""

Address = tuple[str, int]

log = structlog.get_logger()


class DigitLog:
    """Of all calls of proxies. clock: seconds since the epoch."""

    def __init__(
        self,
        calls: Calls,
        sessions: MediaSessions,
        destinations: Sequence[Address],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._calls = calls
        self._sessions = sessions
        self._clock = clock
        families = {host: socket.AF_INET6 if ":" in host else socket.AF_INET for host, _ in destinations}
        self._sockets = [(socket.socket(families[where[0]], socket.SOCK_DGRAM), where) for where in destinations]
        for each, _ in self._sockets:
            each.setblocking(False)

    def heard(self, session: str, leg: Leg, digit: str, milliseconds: float | None) -> None:
        """Tell of a digit that a leg of a session has dialled, if the session is of a proxy's call."""
        event = self._event(session, leg, digit, milliseconds)
        if event is None:
            return
        data = json.dumps(event).encode()
        for each, where in self._sockets:
            try:
                each.sendto(data, where)
            except OSError as error:
                log.debug("digit not told", to=where[0], error=str(error))

    def close(self) -> None:
        """Tell nobody any more."""
        for each, _ in self._sockets:
            each.close()

    def _event(self, session: str, leg: Leg, digit: str, milliseconds: float | None) -> dict[str, object] | None:
        call = self._calls.of_session(session)
        dialogue = next((each for each in call.dialogues if each.session == session), None) if call else None
        if call is None or dialogue is None or digit not in DIGITS:
            return None
        sender = dialogue.a if leg == "a" else dialogue.b
        return {
            "callid": call.call_id,
            "source_tag": sender.tag or "",
            **({"source_label": sender.label} if sender.label else {}),
            "tags": [each.tag for each in call.participants if each.tag],
            "type": "DTMF",
            "timestamp": int(self._clock()),
            "source_ip": next((view.source[0] for view in self._sessions.query(session) if view.leg == leg), ""),
            "event": DIGITS.index(digit),
            "duration": round(milliseconds or 0),
            "volume": USUAL_VOLUME,
        }
