# SPDX-License-Identifier: GPL-3.0-or-later
"""Music for a party whom the other one has put on hold, where the configuration names some.

Who holds says so in its description (RFC 3264 §8.4). What else is played to the party held goes first.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from ctl.sessions.call_media import LEGS
from ctl.sessions.media_sessions import MediaRefused, MediaSessions
from ctl.sessions.player import Player
from ctl.sessions.streams import Stream
from sip.effects import Leg

_HOLDS = ("sendonly", "inactive")
_HEARS = ("recvonly", "sendrecv")

log = structlog.get_logger()


class HoldMusic:
    """Of the calls that `look` is told of. sound_of: what a leg of a call is to hear, empty for nothing."""

    def __init__(self, sessions: MediaSessions, playback: Player, sound_of: Callable[[str, Leg], str]) -> None:
        self._sessions = sessions
        self._playback = playback
        self._sound_of = sound_of
        self._playing: dict[tuple[str, Leg], int] = {}

    def look(self, call: str) -> None:
        """Begin or end it by what both legs have agreed on now."""
        for leg in LEGS:
            held = self._is_held(call, leg)
            token = self._playing.get((call, leg))
            if held and token is None and self._playback.playing(call, leg) is None:
                self._begin(call, leg)
            elif token is not None and not held:
                self._playback.stop(call, leg, token)

    def _is_held(self, call: str, leg: Leg) -> bool:
        described = self._sessions.described(call)
        if len(described) < len(LEGS):
            return False
        both = zip(described["b" if leg == "a" else "a"], described[leg], strict=False)
        return any(_holds(other) and not own.held and own.direction in _HEARS for other, own in both)

    def _begin(self, call: str, leg: Leg) -> None:
        sound = self._sound_of(call, leg)
        if not sound:
            return
        try:
            playing = self._playback.play(call, leg, sound, times=0, on_end=self._ended)
        except MediaRefused as refused:
            log.warning("no music on hold", call=call, why=refused.reason)
            return
        self._playing[call, leg] = playing.token

    def _ended(self, call: str, leg: Leg, _token: int, _finished: bool) -> None:
        self._playing.pop((call, leg), None)


def _holds(stream: Stream) -> bool:
    live = stream.media == "audio" and stream.rtp_port and not stream.house
    return bool(live) and (stream.held or stream.direction in _HOLDS)
