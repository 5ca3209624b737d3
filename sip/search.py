# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom an INVITE or a REFER with Replaces means, where that cannot be told at once (RFC 3891).

What both sides of a transfer have just said may not have been heard everywhere: an ACK that makes the other call talk,
the end of a change of it, or that a leg of it has gone over to another process. So a dialog that is not found, or is
in no state to be replaced, is looked for again before it is given up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sip.call_table import CallState
from sip.dialog import DialogKey
from sip.effects import BorrowLeg
from sip.errors import ProtocolError

if TYPE_CHECKING:
    from sip.call import Call
    from sip.calls import Calls, Party

_MOMENT = 0.2
_TIMES = 10
_NOT_THERE = 481


class Search:
    """Looks for the peer of who has `dialog`, and must be `party`: whom `call`, which has no route yet, is for."""

    def __init__(self, calls: Calls, call: Call, dialog: DialogKey, party: Party | None) -> None:
        self._calls = calls
        self._call = call
        self._dialog = dialog
        self._party = party
        self._left = _TIMES

    def ring(self, name: str, now: float) -> None:
        """Look, here or by asking the others."""
        if self._call.state is not CallState.ROUTING:
            return
        agent = self._calls.agent
        if self._calls.elsewhere(self._dialog):
            token = agent.questions.ask(self._arrived, self._missed, now)
            agent.effects.append(BorrowLeg(token, self._dialog, self._party))
            return
        try:
            leg = self._calls.peer_of(self._dialog, self._party)
        except ProtocolError as error:
            self._missed(error.status, error.reason or "", now)
        else:
            self._call.routed([(self._calls.lent(leg),)], now)

    def _arrived(self, state: Mapping[str, Any], now: float) -> None:
        if self._call.state is CallState.ROUTING:
            self._calls.lending.arrive(self._call, state, now)
        else:
            self._calls.lending.decline(state)

    def _missed(self, status: int, reason: str, now: float) -> None:
        if status != _NOT_THERE or not self._left or self._call.state is not CallState.ROUTING:
            self._call.refused(status, reason, now)
            return
        self._left -= 1
        self._calls.agent.timers.start(self, "look", now + _MOMENT)
