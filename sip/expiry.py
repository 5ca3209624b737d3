# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a caller wants to wait for an answer: Expires of its INVITE (RFC 3261 §13.3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sip.call_event import Event
from sip.call_table import CallSignal
from sip.causes import RECOVERY_ON_TIMER
from sip.hunt import Ending

if TYPE_CHECKING:
    from sip.call import Call

EXPIRY = "invitation expires"


def limit(call: Call) -> None:
    """Wait no longer than the caller does, if it says so."""
    if call.first and call.first.expires and call.answered is None:
        call.expiry = call.host.agent.timers.start(call, EXPIRY, call.started + call.first.expires)


def expire(call: Call, now: float) -> None:
    """It is as if the caller cancelled."""
    if call.a.pending:
        ending = Ending(487, RECOVERY_ON_TIMER, "a", "Invitation Expired")
        call.feed(CallSignal.CANCEL, now, Event(ending=ending))


def settle(call: Call) -> None:
    """The invitation has come to its end."""
    call.host.agent.timers.stop(call.expiry)
    call.expiry = None
