# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine of a back-to-back call: two legs, and at most one offer and answer on its way between them.

The near leg is where an offer or an INVITE without one came from, the far leg where it goes: a and b at first,
either way round in a re-INVITE or UPDATE. What has no entry changes nothing, and the sender learns that
(RFC 3261 §14.2: 491 or 500).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum


class CallState(StrEnum):
    """Where a call stands; the states from REOFFERING to RECOMPLETING are those of a change of a running call."""

    ROUTING = "routing"
    OFFERING = "offering"
    CALLING = "calling"
    ANSWERING = "answering"
    ANSWERED = "answered"
    COMPLETING = "completing"
    TALKING = "talking"
    REOFFERING = "reoffering"
    REINVITING = "reinviting"
    REANSWERING = "reanswering"
    REANSWERED = "reanswered"
    RECOMPLETING = "recompleting"
    ENDED = "ended"


class CallSignal(StrEnum):
    """What happens to a call."""

    ROUTED = "route found"
    MEDIA_READY = "media ready"
    EARLY_READY = "early media ready"
    REFUSED = "refused by ourselves"
    PROGRESS = "1xx from the far leg"
    ACCEPTED = "2xx from the far leg"
    FAILED = "failure from the far leg"
    LOST = "the far leg knows no such call"
    EXHAUSTED = "no target left"
    UNANSWERED = "rang too long"
    ACKED = "ACK from the near leg"
    ACK_ANSWER = "ACK with the answer owed"
    ACK_EMPTY = "ACK without the answer owed"
    NO_ACK = "no ACK from the near leg"
    CANCEL = "CANCEL from the near leg"
    CHANGE = "re-INVITE or UPDATE"
    BYE = "BYE from a leg"
    HANGUP = "hang-up by ourselves"


class CallDo(StrEnum):
    """What a call does on its way to the next state."""

    NEXT_TARGET = "try the next target"
    NOTE = "note the failure"
    OFFER = "open media with the offer"
    INVITE = "send INVITE to the far leg"
    REINVITE = "send re-INVITE to the far leg"
    PROGRESS = "pass 1xx on"
    EARLY = "pass 1xx on with its media"
    TAKE_ANSWER = "take the far leg's 2xx"
    ANSWER = "send 2xx to the near leg"
    COMPLETE = "take the answer in the ACK"
    CONFIRM = "send ACK to the far leg"
    GIVE_UP_FAR = "cancel the far leg"
    WITHDRAW = "cancel the re-INVITE"
    REFUSE_CHANGE = "refuse the change"
    SAVE = "save"
    FINISH = "end both legs, close media, hand out the record"


CallStep = tuple[CallState, tuple[CallDo, ...]]
CallTable = Mapping[tuple[CallState, CallSignal], CallStep]

_END: CallStep = (CallState.ENDED, (CallDo.FINISH,))
_KEEP: CallStep = (CallState.TALKING, (CallDo.REFUSE_CHANGE,))

_SETUP: CallTable = {
    (CallState.ROUTING, CallSignal.ROUTED): (CallState.OFFERING, (CallDo.NEXT_TARGET,)),
    (CallState.OFFERING, CallSignal.MEDIA_READY): (CallState.CALLING, (CallDo.INVITE, CallDo.SAVE)),
    (CallState.CALLING, CallSignal.PROGRESS): (CallState.CALLING, (CallDo.PROGRESS,)),
    (CallState.CALLING, CallSignal.EARLY_READY): (CallState.CALLING, (CallDo.EARLY,)),
    (CallState.CALLING, CallSignal.FAILED): (CallState.OFFERING, (CallDo.NOTE, CallDo.NEXT_TARGET)),
    (CallState.CALLING, CallSignal.UNANSWERED): (
        CallState.OFFERING,
        (CallDo.GIVE_UP_FAR, CallDo.NEXT_TARGET),
    ),
    (CallState.CALLING, CallSignal.ACCEPTED): (CallState.ANSWERING, (CallDo.TAKE_ANSWER, CallDo.SAVE)),
    (CallState.ANSWERING, CallSignal.MEDIA_READY): (CallState.ANSWERED, (CallDo.ANSWER, CallDo.SAVE)),
    (CallState.ANSWERED, CallSignal.ACKED): (CallState.TALKING, (CallDo.SAVE,)),
    (CallState.ANSWERED, CallSignal.ACK_ANSWER): (CallState.COMPLETING, (CallDo.COMPLETE,)),
    (CallState.COMPLETING, CallSignal.MEDIA_READY): (CallState.TALKING, (CallDo.CONFIRM, CallDo.SAVE)),
}

_CHANGE: CallTable = {
    (CallState.TALKING, CallSignal.CHANGE): (CallState.REOFFERING, (CallDo.OFFER,)),
    (CallState.REOFFERING, CallSignal.MEDIA_READY): (CallState.REINVITING, (CallDo.REINVITE,)),
    (CallState.REOFFERING, CallSignal.REFUSED): _KEEP,
    (CallState.REOFFERING, CallSignal.CANCEL): _KEEP,
    (CallState.REINVITING, CallSignal.ACCEPTED): (CallState.REANSWERING, (CallDo.TAKE_ANSWER,)),
    (CallState.REINVITING, CallSignal.FAILED): _KEEP,
    (CallState.REINVITING, CallSignal.CANCEL): (CallState.REINVITING, (CallDo.WITHDRAW,)),
    (CallState.REANSWERING, CallSignal.MEDIA_READY): (CallState.REANSWERED, (CallDo.ANSWER, CallDo.SAVE)),
    (CallState.REANSWERED, CallSignal.ACKED): (CallState.TALKING, (CallDo.SAVE,)),
    (CallState.REANSWERED, CallSignal.ACK_ANSWER): (CallState.RECOMPLETING, (CallDo.COMPLETE,)),
    (CallState.RECOMPLETING, CallSignal.MEDIA_READY): (CallState.TALKING, (CallDo.CONFIRM, CallDo.SAVE)),
}

_ENDS: Mapping[CallSignal, tuple[CallState, ...]] = {
    CallSignal.REFUSED: (
        CallState.ROUTING,
        CallState.OFFERING,
        CallState.ANSWERING,
        CallState.COMPLETING,
        CallState.REANSWERING,
        CallState.RECOMPLETING,
    ),
    CallSignal.EXHAUSTED: (CallState.OFFERING,),
    CallSignal.CANCEL: (CallState.ROUTING, CallState.OFFERING, CallState.CALLING, CallState.ANSWERING),
    CallSignal.ACK_EMPTY: (CallState.ANSWERED, CallState.REANSWERED),
    CallSignal.NO_ACK: (CallState.ANSWERED, CallState.REANSWERED),
    CallSignal.LOST: (CallState.REINVITING,),
    CallSignal.BYE: tuple(state for state in CallState if state is not CallState.ENDED),
    CallSignal.HANGUP: tuple(state for state in CallState if state is not CallState.ENDED),
}
"""What ends a call, and in which states; a refused answer does, for the two sides agree no more."""


def _ends() -> Iterator[tuple[tuple[CallState, CallSignal], CallStep]]:
    for signal, states in _ENDS.items():
        for state in states:
            yield (state, signal), _END


CALL: CallTable = {**_SETUP, **_CHANGE, **dict(_ends())}

SAVED = frozenset({CallState.CALLING, CallState.ANSWERING, CallState.ANSWERED, CallState.TALKING, CallState.REANSWERED})
"""States that a restarted process can find a call in; in between the journal holds the one before."""
