# SPDX-License-Identifier: GPL-3.0-or-later
"""What those who have legs hear something ask of `ctl.sessions.playback.Playback`: queues, music on hold, proxies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sip.effects import Leg

Ended = Callable[[str, Leg, int, bool], None]
"""Told once of each sound: call, leg that heard it, token, and whether it was played to its end."""


class Playing(Protocol):
    """A sound under way."""

    @property
    def token(self) -> int:
        """What it is known by."""

    @property
    def milliseconds(self) -> int:
        """Of one round."""


class Player(Protocol):
    """All raise MediaRefused."""

    def play(
        self, call: str, leg: Leg, sounds: str, *, times: int = 1, start_ms: int = 0, on_end: Ended | None = None
    ) -> Playing:
        """Have a leg hear a sound; times 0: until it is stopped."""

    def stop(self, call: str, leg: Leg, token: int | None = None) -> bool:
        """End what a leg hears, or just that of the token; whether there was anything."""

    def playing(self, call: str, leg: Leg) -> Playing | None:
        """Return what a leg hears."""
