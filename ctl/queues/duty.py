# SPDX-License-Identifier: GPL-3.0-or-later
"""Agents who dial a code to come, to pause or to go: they hear that it was done, and are hung up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import structlog

from ctl.queues.services import Duty
from ctl.queues.sounds import BUSY, Sounds
from provisioning.acd import Board, Effect
from sip.effects import Waiting

NORMAL, NOT_SUBSCRIBED = 16, 50
_PROMPTS = "queue/agent"

log = structlog.get_logger()


class Ends(Protocol):
    """What is asked of signalling."""

    def hang_up(self, call: str, cause: int) -> None:
        """End a call."""


class Duties:
    """change: does something with the board of a tenant."""

    def __init__(
        self,
        change: Callable[[int, Callable[[Board], list[Effect]]], None],
        signalling: Ends,
        sounds: Sounds,
    ) -> None:
        self._change = change
        self._signalling = signalling
        self._sounds = sounds

    def take(self, effect: Waiting, tenant: int, duty: Duty) -> None:
        """A user dialled a code. One who is no agent hears the tone of a busy line."""

        def change(board: Board) -> list[Effect]:
            names = [agent.name for agent in board.agents.values() if agent.user == effect.caller]
            if names:
                self._end(effect.call, f"{_PROMPTS}/{duty}", NORMAL)
            else:
                self._end(effect.call, BUSY, NOT_SUBSCRIBED)
            effects = [each for name in names for each in board.set_agent(name, duty, time.time())]
            log.info("agent by code", user=effect.caller, agents=names, state=duty)
            return effects

        self._change(tenant, change)

    def _end(self, call: str, sound: str, cause: int) -> None:
        self._sounds.say(call, sound, lambda: self._signalling.hang_up(call, cause))
