# SPDX-License-Identifier: GPL-3.0-or-later
"""What a call needs of those who have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sip.agent import Agent
from sip.call_questions import CallQuestions
from sip.dialog import DialogKey
from sip.leg import Leg

if TYPE_CHECKING:
    from sip.call import Call


class CallHost(Protocol):
    """What a call needs of the core."""

    agent: Agent
    asks: CallQuestions

    def found(self, call: Call, leg: Leg, key: DialogKey) -> None:
        """Find the requests of this dialog from now on."""

    def left(self, call: Call, leg: Leg) -> None:
        """And those of none of its dialogs any longer."""

    def save(self, call: Call) -> None:
        """Write the call down."""

    def forget(self, call: Call) -> None:
        """Nothing of the call is left."""
