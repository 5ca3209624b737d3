# SPDX-License-Identifier: GPL-3.0-or-later
"""What callers hear who wait: music without end, and announcements in between.

A sound that cannot be played is told once in the log and is silence; nobody loses a place because of it.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable

import structlog

from ctl.sessions.media_sessions import MediaRefused
from ctl.sessions.player import Ended, Player
from sip.effects import Leg

BUSY = "tone/busy"
RINGING = "tone/ringback"
BEING_PREPARED, NO_SUCH_CALL = 425, 481
AGAIN_SECONDS = 1.0
_LEG: Leg = "a"

log = structlog.get_logger()


class Sounds:
    """One per controller."""

    def __init__(self, player: Player) -> None:
        self._player = player
        self._silent: set[str] = set()

    def repeat(self, call: str, sound: str, leg: Leg = _LEG) -> None:
        """Let the caller, or another leg, hear a sound again and again, in place of what it hears."""
        self._play(call, leg, sound, 0, None)

    def say(self, call: str, sound: str, then: Callable[[], None]) -> None:
        """Let the caller hear a sound to its end, then go on; at once where it cannot be played."""

        def ended(_call: str, _leg: Leg, _token: int, finished: bool) -> None:
            if finished:
                then()

        if not self._play(call, _LEG, sound, 1, ended):
            then()

    def stop(self, call: str, leg: Leg = _LEG) -> None:
        """Let the caller, or another leg, hear its peer."""
        self._player.stop(call, leg)

    def _play(self, call: str, leg: Leg, sound: str, times: int, on_end: Ended | None) -> bool:
        try:
            self._player.play(call, leg, sound, times=times, on_end=on_end)
        except MediaRefused as refused:
            if refused.status == BEING_PREPARED:
                again = functools.partial(self._play, call, leg, sound, times, on_end)
                asyncio.get_running_loop().call_later(AGAIN_SECONDS, again)
                return True
            if refused.status != NO_SUCH_CALL and sound not in self._silent:
                self._silent.add(sound)
                log.warning("a sound cannot be played, callers hear nothing", sound=sound, why=refused.reason)
            return False
        self._silent.discard(sound)
        return True
