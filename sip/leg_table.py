# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine of one leg: one peer's INVITE and dialog, from the first message to the last (RFC 3261 §9, §13-15).

CANCEL waits for a 1xx, a 2xx that crosses it is acknowledged and hung up, a BYE waits for the ACK it must not
overtake: each of these races is an entry here and nowhere else. What has no entry changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class LegState(StrEnum):
    """Where a leg stands."""

    INCOMING = "incoming"
    CALLING = "calling"
    RINGING = "ringing"
    ABANDONED = "abandoned"
    CANCELLING = "cancelling"
    ACCEPTED = "accepted"
    UNACKED = "unacked"
    CONFIRMED = "confirmed"
    PARTING = "parting"
    LEAVING = "leaving"
    GONE = "gone"


class LegSignal(StrEnum):
    """What happens to a leg."""

    PROVISIONAL = "1xx received"
    ACCEPT = "2xx received"
    REJECT = "failure received"
    ANSWER = "2xx sent"
    ACK = "ACK received"
    NO_ACK = "no ACK came"
    CONFIRM = "ACK wanted"
    END = "end wanted"
    BYE = "BYE received"
    LEFT = "BYE answered"
    NO_FINAL = "CANCEL without effect"
    AGAIN = "challenge answered"
    NO_PRACK = "no PRACK came"
    UPDATED = "UPDATE answered"
    EXPIRED = "session expired"


class LegDo(StrEnum):
    """What a leg does on its way to the next state."""

    TELL = "tell the call"
    REJECT = "refuse what is pending"
    REPEAT = "repeat 2xx"
    HUSH = "stop repeating"
    ACK = "send ACK"
    CANCEL = "send CANCEL"
    WATCH = "limit the wait"
    ABANDON = "drop transaction"
    BYE = "send BYE"


LegStep = tuple[LegState, tuple[LegDo, ...]]

TALKING = frozenset({LegState.UNACKED, LegState.CONFIRMED})
"""States in which a leg's dialog takes any request of ours."""

REACHABLE = TALKING | {LegState.INCOMING, LegState.RINGING, LegState.ACCEPTED}
"""States in which its dialog, be it early, takes a request that changes nothing."""

_TOLD = {
    LegSignal.NO_PRACK: (LegState.INCOMING,),
    LegSignal.UPDATED: (LegState.INCOMING, LegState.RINGING, LegState.ACCEPTED, *sorted(TALKING)),
    LegSignal.EXPIRED: tuple(sorted(TALKING)),
}
"""News that are the call's alone."""

LEG: Mapping[tuple[LegState, LegSignal], LegStep] = {
    **{(state, signal): (state, (LegDo.TELL,)) for signal, states in _TOLD.items() for state in states},
    (LegState.INCOMING, LegSignal.ANSWER): (LegState.UNACKED, (LegDo.REPEAT,)),
    (LegState.INCOMING, LegSignal.END): (LegState.GONE, (LegDo.REJECT,)),
    (LegState.CALLING, LegSignal.PROVISIONAL): (LegState.RINGING, (LegDo.TELL,)),
    (LegState.CALLING, LegSignal.ACCEPT): (LegState.ACCEPTED, (LegDo.TELL,)),
    (LegState.CALLING, LegSignal.REJECT): (LegState.GONE, (LegDo.TELL,)),
    (LegState.CALLING, LegSignal.END): (LegState.ABANDONED, (LegDo.WATCH,)),
    (LegState.RINGING, LegSignal.PROVISIONAL): (LegState.RINGING, (LegDo.TELL,)),
    (LegState.RINGING, LegSignal.AGAIN): (LegState.CALLING, ()),
    (LegState.RINGING, LegSignal.ACCEPT): (LegState.ACCEPTED, (LegDo.TELL,)),
    (LegState.RINGING, LegSignal.REJECT): (LegState.GONE, (LegDo.TELL,)),
    (LegState.RINGING, LegSignal.END): (LegState.CANCELLING, (LegDo.CANCEL, LegDo.WATCH)),
    (LegState.ABANDONED, LegSignal.PROVISIONAL): (LegState.CANCELLING, (LegDo.CANCEL, LegDo.WATCH)),
    (LegState.ABANDONED, LegSignal.ACCEPT): (LegState.LEAVING, (LegDo.ACK, LegDo.BYE)),
    (LegState.ABANDONED, LegSignal.REJECT): (LegState.GONE, ()),
    (LegState.ABANDONED, LegSignal.NO_FINAL): (LegState.GONE, (LegDo.ABANDON,)),
    (LegState.CANCELLING, LegSignal.ACCEPT): (LegState.LEAVING, (LegDo.ACK, LegDo.BYE)),
    (LegState.CANCELLING, LegSignal.REJECT): (LegState.GONE, ()),
    (LegState.CANCELLING, LegSignal.NO_FINAL): (LegState.GONE, (LegDo.ABANDON,)),
    (LegState.ACCEPTED, LegSignal.CONFIRM): (LegState.CONFIRMED, (LegDo.ACK,)),
    (LegState.ACCEPTED, LegSignal.END): (LegState.LEAVING, (LegDo.ACK, LegDo.BYE)),
    (LegState.ACCEPTED, LegSignal.BYE): (LegState.GONE, (LegDo.ACK, LegDo.TELL)),
    (LegState.UNACKED, LegSignal.ACK): (LegState.CONFIRMED, (LegDo.HUSH, LegDo.TELL)),
    (LegState.UNACKED, LegSignal.NO_ACK): (LegState.LEAVING, (LegDo.HUSH, LegDo.BYE, LegDo.TELL)),
    (LegState.UNACKED, LegSignal.END): (LegState.PARTING, ()),
    (LegState.UNACKED, LegSignal.BYE): (LegState.GONE, (LegDo.HUSH, LegDo.TELL)),
    (LegState.CONFIRMED, LegSignal.ANSWER): (LegState.UNACKED, (LegDo.REPEAT,)),
    (LegState.CONFIRMED, LegSignal.ACCEPT): (LegState.ACCEPTED, (LegDo.TELL,)),
    (LegState.CONFIRMED, LegSignal.REJECT): (LegState.CONFIRMED, (LegDo.TELL,)),
    (LegState.CONFIRMED, LegSignal.END): (LegState.LEAVING, (LegDo.REJECT, LegDo.BYE)),
    (LegState.CONFIRMED, LegSignal.BYE): (LegState.GONE, (LegDo.REJECT, LegDo.TELL)),
    (LegState.PARTING, LegSignal.ACK): (LegState.LEAVING, (LegDo.HUSH, LegDo.BYE)),
    (LegState.PARTING, LegSignal.NO_ACK): (LegState.LEAVING, (LegDo.HUSH, LegDo.BYE)),
    (LegState.PARTING, LegSignal.BYE): (LegState.GONE, (LegDo.HUSH,)),
    (LegState.LEAVING, LegSignal.ACCEPT): (LegState.LEAVING, (LegDo.ACK,)),
    (LegState.LEAVING, LegSignal.BYE): (LegState.LEAVING, ()),
    (LegState.LEAVING, LegSignal.LEFT): (LegState.GONE, ()),
    (LegState.GONE, LegSignal.ACCEPT): (LegState.GONE, (LegDo.ACK,)),
}
