# SPDX-License-Identifier: GPL-3.0-or-later
"""Pressed keys on their way from one leg to the other, in whatever form either of them has: INFO, events, tones.

Between telephone events and tones the engine's stages translate; what comes or goes by INFO passes through here.
"""

from __future__ import annotations

import structlog

from ctl.observe.media_watch import Digit, MediaEvent, MediaWatch
from ctl.sessions.media_sessions import MediaRefused, MediaSessions
from ctl.sessions.playback import Inform, Playback
from sip.effects import Leg, Pressed

SHORTEST, LONGEST = 40, 5000
USUAL = 160

log = structlog.get_logger()


class Digits:
    """One per controller, of signalling's calls."""

    def __init__(self, sessions: MediaSessions, playback: Playback, watch: MediaWatch, inform: Inform) -> None:
        self._sessions = sessions
        self._playback = playback
        self._inform = playback.inform = inform
        watch.subscribe(self._heard)

    def pressed(self, key: Pressed) -> bool:
        """Take a key that a leg has told by INFO; return whether the other leg is not to get that INFO itself."""
        call, other = key.call, _other(key.leg)
        if key.leg in self._playback.digits_blocked(call) or self._answered_by_us(call, other):
            return True
        form = self._sessions.dtmf(call, other)
        if form == "info" or (form == "auto" and not self._has_events(call, other)):
            return False
        try:
            ms = round(key.milliseconds or USUAL)
            self._playback.send_digits(call, other, key.digit, ms=max(SHORTEST, min(ms, LONGEST)))
        except MediaRefused as refused:
            log.info("a key goes on by INFO", call=call, why=refused.reason)
            return False
        return True

    def _heard(self, event: MediaEvent) -> None:
        """A digit in the media of a leg whose other leg wants INFO."""
        if not isinstance(event, Digit) or event.informed:
            return
        other = _other(event.leg)
        if self._sessions.dtmf(event.call, other) != "info" or event.leg in self._playback.digits_blocked(event.call):
            return
        self._inform(event.call, other, event.digit, round(event.milliseconds or USUAL))

    def _has_events(self, call: str, leg: Leg) -> bool:
        return any(stream.telephone_events for stream in self._sessions.described(call).get(leg, ()))

    def _answered_by_us(self, call: str, leg: Leg) -> bool:
        return any(stream.house for stream in self._sessions.described(call).get(leg, ()))


def _other(leg: Leg) -> Leg:
    return "b" if leg == "a" else "a"
