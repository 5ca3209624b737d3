# SPDX-License-Identifier: GPL-3.0-or-later
"""A call that this host has in a queue, and what of it the board is told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from provisioning.acd import Here, QueueRule

_BACK = ".back."


class Stage(StrEnum):
    """How far a call has come in its queue."""

    WAITING = "waiting"
    TALKING = "talking"
    ASKED = "asked to be called back"
    SENT_ON = "sent on"
    CALLING_AGENT = "calling the agent for a callback"
    CALLING_BACK = "calling back"


@dataclass(slots=True)
class Attended:
    """One call. entry: its name on the board; joined: Unix time; caller: who it is, as people see it.

    agent: who has taken it; number: whom it calls back, or who is to be; entered: it has been on the board;
    welcomed: it hears something; over: it has ended, which the board is still to be told;
    returns: it waits on, at its place, where nobody is reached whom it was sent on to. again: whom it calls back may be
    called another time.
    """

    call: str
    entry: str
    tenant: int
    queue: str
    joined: float
    caller: str = ""
    stage: Stage = Stage.WAITING
    agent: str = ""
    number: str = ""
    trunk: str = ""
    rule: QueueRule | None = None
    entered: bool = False
    over: bool = False
    returns: bool = False
    welcomed: bool = False
    again: bool = True

    @property
    def here(self) -> Here | None:
        """What the board is told of it, None where it has no place there any more."""
        if self.stage is Stage.SENT_ON:
            return None
        talks_with = self.agent if self.stage is Stage.TALKING else ""
        return Here(self.queue, self.joined, self.caller, agent=talks_with, number=self.number or None)


def call_for(entry: str, attempt: int) -> str:
    """The id of the call that calls somebody back; `entry_of` knows whose place on the board that is."""
    return f"{entry}{_BACK}{attempt}"


def entry_of(call: str) -> str:
    """The name on the board of a call."""
    return call.partition(_BACK)[0]


def calls_back(call: str) -> bool:
    """Whether a call was begun to call somebody back."""
    return _BACK in call
