# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine of a back-to-back call: two legs, and at most one offer and answer on its way between them.

The near leg is where an offer or an INVITE without one came from, the far leg where it goes: a and b at first,
either way round in a re-INVITE or UPDATE. While the callee is sought there can be several far legs, the branches of
a fork. What has no entry changes nothing, and the sender learns that (RFC 3261 §14.2: 491 or 500).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum


class CallState(StrEnum):
    """Where a call stands.

    The states whose names begin with EARLY are those of a change before the answer (RFC 3311), those from REOFFERING to
    RECOMPLETING of a change of a running call. LENT: a leg of it is to become another call's, by a transfer or because
    its peer is replaced. ATTENDING to WAITING: we ourselves speak to the caller, in a queue; from there somebody is
    sought as at the beginning, and whoever is not reached leaves the caller waiting.
    """

    ROUTING = "routing"
    OFFERING = "offering"
    CALLING = "calling"
    EARLY_OFFERING = "early offering"
    EARLY_UPDATING = "early updating"
    EARLY_ANSWERING = "early answering"
    ANSWERING = "answering"
    ANSWERED = "answered"
    COMPLETING = "completing"
    TALKING = "talking"
    REOFFERING = "reoffering"
    REINVITING = "reinviting"
    REANSWERING = "reanswering"
    REANSWERED = "reanswered"
    RECOMPLETING = "recompleting"
    LENT = "lent"
    ATTENDING = "attending"
    ATTENDED = "attended"
    ATTEND_COMPLETING = "attend completing"
    REATTENDING = "reattending"
    WAITING = "waiting"
    ENDED = "ended"


class CallSignal(StrEnum):
    """What happens to a call."""

    ROUTED = "route found"
    MEDIA_READY = "media ready"
    EARLY_READY = "early media ready"
    REFUSED = "refused by ourselves"
    UNFIT = "media cannot speak with these"
    PROGRESS = "1xx from the far leg"
    PRACK_ANSWER = "PRACK with the answer owed"
    PRACK_READY = "media ready for PRACK"
    NO_PRACK = "no PRACK from the near leg"
    ACCEPTED = "2xx from the far leg"
    BRANCH_FAILED = "failure of one branch"
    REDIRECTED = "redirection to follow"
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
    UPDATED = "UPDATE accepted"
    UPDATE_FAILED = "UPDATE refused"
    LEND = "another call takes a leg over"
    RETURNED = "the other call has failed"
    TAKEN = "the other call stands"
    HOUSE = "the target is ourselves"
    JOINED = "both legs know each other's media"
    WAITED = "the caller hears us"
    UNREACHED = "nobody reached for one who waits"
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
    COMPLETE_EARLY = "take the answer in the PRACK"
    PRACK = "send PRACK with the answer"
    UPDATE = "send UPDATE to the far leg"
    DEFER = "keep for later"
    RESUME = "go on with what was kept"
    REDIRECT = "ask for the way to where the callee points"
    TAKE_ANSWER = "take the far leg's 2xx"
    ANSWER = "send 2xx to the near leg"
    TAKE_OVER = "take the leg over that was lent"
    COMPLETE = "take the answer in the ACK"
    CONFIRM = "send ACK to the far leg"
    GIVE_UP_FAR = "cancel all branches"
    WITHDRAW = "cancel the re-INVITE"
    REFUSE_CHANGE = "refuse the change"
    ATTEND = "speak to the near leg ourselves"
    WAIT = "tell that the caller waits"
    LEAVE = "drop those who were sought"
    SAVE = "save"
    FINISH = "end both legs, close media, hand out the record"


CallStep = tuple[CallState, tuple[CallDo, ...]]
CallTable = Mapping[tuple[CallState, CallSignal], CallStep]

_END: CallStep = (CallState.ENDED, (CallDo.FINISH,))
PASSING = frozenset(
    {
        *(CallState.ANSWERED, CallState.COMPLETING, CallState.REOFFERING, CallState.REINVITING, CallState.REANSWERING),
        *(CallState.REANSWERED, CallState.RECOMPLETING, CallState.LENT),
    }
)
"""Those that lead to talking, or to an end, without anybody's decision."""
_KEEP: CallStep = (CallState.TALKING, (CallDo.REFUSE_CHANGE,))

_SETUP: CallTable = {
    (CallState.ROUTING, CallSignal.ROUTED): (CallState.OFFERING, (CallDo.NEXT_TARGET,)),
    (CallState.OFFERING, CallSignal.MEDIA_READY): (CallState.CALLING, (CallDo.INVITE, CallDo.SAVE)),
    (CallState.OFFERING, CallSignal.UNFIT): (CallState.OFFERING, (CallDo.NEXT_TARGET,)),
    (CallState.CALLING, CallSignal.PROGRESS): (CallState.CALLING, (CallDo.PROGRESS,)),
    (CallState.CALLING, CallSignal.EARLY_READY): (CallState.CALLING, (CallDo.EARLY,)),
    (CallState.CALLING, CallSignal.PRACK_ANSWER): (CallState.CALLING, (CallDo.COMPLETE_EARLY,)),
    (CallState.CALLING, CallSignal.PRACK_READY): (CallState.CALLING, (CallDo.PRACK,)),
    (CallState.CALLING, CallSignal.BRANCH_FAILED): (CallState.CALLING, (CallDo.NOTE,)),
    (CallState.CALLING, CallSignal.REDIRECTED): (CallState.ROUTING, (CallDo.NOTE, CallDo.REDIRECT)),
    (CallState.CALLING, CallSignal.FAILED): (CallState.OFFERING, (CallDo.NOTE, CallDo.NEXT_TARGET)),
    (CallState.CALLING, CallSignal.UNANSWERED): (
        CallState.OFFERING,
        (CallDo.GIVE_UP_FAR, CallDo.NEXT_TARGET),
    ),
    (CallState.CALLING, CallSignal.ACCEPTED): (CallState.ANSWERING, (CallDo.TAKE_ANSWER, CallDo.SAVE)),
    (CallState.ANSWERING, CallSignal.MEDIA_READY): (CallState.ANSWERED, (CallDo.ANSWER, CallDo.SAVE)),
    (CallState.ANSWERED, CallSignal.ACKED): (CallState.TALKING, (CallDo.SAVE,)),
    (CallState.ANSWERED, CallSignal.ACCEPTED): (CallState.TALKING, (CallDo.TAKE_OVER, CallDo.SAVE)),
    (CallState.ANSWERED, CallSignal.ACK_ANSWER): (CallState.COMPLETING, (CallDo.COMPLETE,)),
    (CallState.COMPLETING, CallSignal.MEDIA_READY): (CallState.TALKING, (CallDo.CONFIRM, CallDo.SAVE)),
}

_DURING_EARLY = (CallSignal.PROGRESS, CallSignal.ACCEPTED, CallSignal.BRANCH_FAILED, CallSignal.FAILED)
_EARLY_STATES = (CallState.EARLY_OFFERING, CallState.EARLY_UPDATING, CallState.EARLY_ANSWERING)
_BACK: CallStep = (CallState.CALLING, (CallDo.REFUSE_CHANGE, CallDo.RESUME))

_EARLY: CallTable = {
    (CallState.CALLING, CallSignal.CHANGE): (CallState.EARLY_OFFERING, (CallDo.OFFER,)),
    (CallState.EARLY_OFFERING, CallSignal.MEDIA_READY): (CallState.EARLY_UPDATING, (CallDo.UPDATE,)),
    (CallState.EARLY_OFFERING, CallSignal.REFUSED): _BACK,
    (CallState.EARLY_UPDATING, CallSignal.REFUSED): _BACK,
    (CallState.EARLY_UPDATING, CallSignal.UPDATE_FAILED): _BACK,
    (CallState.EARLY_UPDATING, CallSignal.UPDATED): (CallState.EARLY_ANSWERING, (CallDo.TAKE_ANSWER,)),
    (CallState.EARLY_ANSWERING, CallSignal.MEDIA_READY): (CallState.CALLING, (CallDo.ANSWER, CallDo.RESUME)),
    (CallState.EARLY_ANSWERING, CallSignal.REFUSED): _BACK,
    **{(state, signal): (state, (CallDo.DEFER,)) for state in _EARLY_STATES for signal in _DURING_EARLY},
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

_LOAN: CallTable = {
    (CallState.TALKING, CallSignal.LEND): (CallState.LENT, ()),
    (CallState.LENT, CallSignal.RETURNED): (CallState.TALKING, ()),
    (CallState.LENT, CallSignal.TAKEN): _END,
}

_SOUGHT = (CallState.OFFERING, CallState.CALLING, CallState.ANSWERING)

_WAITING: CallTable = {
    (CallState.OFFERING, CallSignal.HOUSE): (CallState.ATTENDING, (CallDo.ATTEND,)),
    (CallState.ATTENDING, CallSignal.MEDIA_READY): (CallState.ATTENDED, (CallDo.ANSWER, CallDo.SAVE)),
    (CallState.ATTENDED, CallSignal.ACKED): (CallState.WAITING, (CallDo.WAIT, CallDo.SAVE)),
    (CallState.ATTENDED, CallSignal.WAITED): (CallState.WAITING, (CallDo.WAIT, CallDo.SAVE)),
    (CallState.ATTENDED, CallSignal.ACK_ANSWER): (CallState.ATTEND_COMPLETING, (CallDo.COMPLETE,)),
    (CallState.ATTEND_COMPLETING, CallSignal.MEDIA_READY): (CallState.WAITING, (CallDo.WAIT, CallDo.SAVE)),
    (CallState.WAITING, CallSignal.CHANGE): (CallState.REATTENDING, (CallDo.ATTEND,)),
    (CallState.REATTENDING, CallSignal.MEDIA_READY): (CallState.ATTENDED, (CallDo.ANSWER, CallDo.SAVE)),
    (CallState.REATTENDING, CallSignal.REFUSED): (CallState.WAITING, (CallDo.REFUSE_CHANGE,)),
    (CallState.REATTENDING, CallSignal.CANCEL): (CallState.WAITING, (CallDo.REFUSE_CHANGE,)),
    (CallState.OFFERING, CallSignal.WAITED): (CallState.WAITING, (CallDo.LEAVE, CallDo.WAIT, CallDo.SAVE)),
    (CallState.WAITING, CallSignal.ROUTED): (CallState.OFFERING, (CallDo.NEXT_TARGET,)),
    (CallState.ANSWERED, CallSignal.JOINED): (CallState.TALKING, (CallDo.SAVE,)),
    (CallState.ANSWERED, CallSignal.WAITED): (CallState.WAITING, (CallDo.WAIT, CallDo.SAVE)),
    (CallState.WAITING, CallSignal.UNREACHED): (CallState.WAITING, (CallDo.LEAVE,)),
    **{(state, CallSignal.UNREACHED): (CallState.WAITING, (CallDo.LEAVE, CallDo.SAVE)) for state in _SOUGHT},
}

_ENDS: Mapping[CallSignal, tuple[CallState, ...]] = {
    CallSignal.REFUSED: (
        CallState.ROUTING,
        CallState.OFFERING,
        CallState.CALLING,
        CallState.ANSWERING,
        CallState.COMPLETING,
        CallState.REANSWERING,
        CallState.RECOMPLETING,
        CallState.ATTENDING,
        CallState.ATTEND_COMPLETING,
    ),
    CallSignal.EXHAUSTED: (CallState.OFFERING,),
    CallSignal.FAILED: (CallState.ANSWERED,),
    CallSignal.CANCEL: (
        CallState.ROUTING,
        CallState.OFFERING,
        CallState.CALLING,
        *_EARLY_STATES,
        CallState.ANSWERING,
        CallState.ANSWERED,
        CallState.ATTENDING,
        CallState.ATTENDED,
        CallState.WAITING,
    ),
    CallSignal.NO_PRACK: (CallState.CALLING, *_EARLY_STATES, CallState.ANSWERED, CallState.WAITING),
    CallSignal.UNANSWERED: _EARLY_STATES,
    CallSignal.ACK_EMPTY: (CallState.ANSWERED, CallState.REANSWERED, CallState.ATTENDED),
    CallSignal.NO_ACK: (CallState.ANSWERED, CallState.REANSWERED, CallState.ATTENDED),
    CallSignal.LOST: (CallState.REINVITING,),
    CallSignal.BYE: tuple(state for state in CallState if state is not CallState.ENDED),
    CallSignal.HANGUP: tuple(state for state in CallState if state is not CallState.ENDED),
}
"""What ends a call, and in which states; a refused answer does, for the two sides agree no more."""


def _ends() -> Iterator[tuple[tuple[CallState, CallSignal], CallStep]]:
    for signal, states in _ENDS.items():
        for state in states:
            yield (state, signal), _END


CALL: CallTable = {**_SETUP, **_EARLY, **_CHANGE, **_LOAN, **_WAITING, **dict(_ends())}

SAVED = frozenset(
    {
        *(CallState.CALLING, CallState.ANSWERING, CallState.ANSWERED, CallState.TALKING, CallState.REANSWERED),
        *(CallState.ATTENDED, CallState.WAITING),
    }
)
"""States that a restarted process can find a call in; in between the journal holds the one before."""
