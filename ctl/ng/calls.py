# SPDX-License-Identifier: GPL-3.0-or-later
"""Who takes part in which call, as proxies name them: a call-id, and a tag for each participant.

A dialogue is an offerer and whoever answers it: what the media sessions know as one call with the legs a and b. A call
that forks has several, told apart by the via-branch or by the tags of those who answer. Pure: no clock, no sockets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ctl.ng.errors import NgError
from ctl.ng.hiding import Hidden
from ctl.ng.holding import Music
from ctl.ng.request import Request
from ctl.sessions.call_media import LEGS
from ctl.sessions.treatment import NOBODY
from sip.effects import Leg

PREFIX = "ng/"
"""What the media sessions' names of our dialogues begin with: PREFIX, a number, a slash and the call-id."""
UNKNOWN_CALL = "Unknown call-id"
LONGEST_TENANT = 63
Echo = Literal["", "blackhole", "a", "b", "both"]
"""To which legs media comes back, and otherwise reaches nobody; "" for media that passes."""
_ECHOED: Mapping[Echo, frozenset[Leg]] = {
    **dict.fromkeys(("", "blackhole"), NOBODY),
    **{leg: frozenset({leg}) for leg in LEGS},
    "both": frozenset(LEGS),
}


@dataclass(slots=True, eq=False)
class Participant:
    """One side of a call, equal to none but itself. tag: None until an answer gives it one.

    created: seconds since the epoch. undialled: what its digits become, as of
    `Cover`; none: they pass. moh: what the
    other side hears while it holds.
    """

    created: float
    tag: str | None = None
    branch: str | None = None
    label: str | None = None
    aliases: list[str] = field(default_factory=list)
    undialled: Sequence[Any] = ()
    moh: Music | None = None

    def named(self, tag: str | None) -> bool:
        """Whether `tag` means this participant."""
        return tag is not None and (tag == self.tag or tag in self.aliases)


@dataclass(slots=True)
class Dialogue:
    """Leg a made the first offer. session: by what the media sessions know it. transcoded: whether the last offer had
    codecs in it that its maker does not have. agreed: on how many m-lines; hidden: those that a side does not see.
    echo: to whom media comes back, whom else it does not reach then.
    """

    session: str
    a: Participant
    b: Participant
    transcoded: bool = False
    agreed: int = 0
    hidden: Sequence[Hidden] = ()
    echo: Echo = ""
    recorded: bool = False
    paused: bool = False

    @property
    def published(self) -> bool:
        """Whether there is nobody but a; who wants to hear it subscribes."""
        return self.a is self.b

    @property
    def transformed(self) -> bool:
        """Whether what its only participant sends goes to an address that a proxy named, in other codecs."""
        return self.published and self.transcoded

    @property
    def echoed(self) -> frozenset[Leg]:
        """Who hears what it says itself."""
        return _ECHOED[self.echo]

    def leg_of(self, participant: Participant) -> Leg:
        """Return the leg that a participant of this dialogue is."""
        return "a" if participant is self.a else "b"

    def has(self, participant: Participant) -> bool:
        """Whether someone takes part."""
        return participant is self.a or participant is self.b

    def other(self, participant: Participant) -> Participant:
        """Return whom this participant talks to."""
        return self.b if participant is self.a else self.a


@dataclass(slots=True)
class Subscription:
    """Somebody who gets copies of what participants send: an m-line for each of `sources`, a participant and the number
    of its m-line from 0. It is leg b of a session of its own. created: seconds since the epoch.
    """

    session: str
    subscriber: Participant
    sources: list[tuple[Participant, int]] = field(default_factory=list)
    transcoded: bool = False


@dataclass(slots=True)
class Call:
    """One call-id. Times are seconds since the epoch; ending: when it is to be taken away, None while it lives.

    answered: when the last answer came, by a steady clock. record: whether it is to be recorded once it has media.
    dropped: whether no media passes.
    tenant: the name of the one whose call the proxy says it is, empty if it says nothing.
    """

    call_id: str
    created: float
    last_signal: float
    metadata: str = ""
    tenant: str = ""
    participants: list[Participant] = field(default_factory=list)
    dialogues: list[Dialogue] = field(default_factory=list)
    subscriptions: list[Subscription] = field(default_factory=list)
    ending: float | None = None
    answered: float | None = None
    record: bool = False
    dropped: bool = False
    sequence: int = 0

    @property
    def sessions(self) -> list[str]:
        """Every name by which the media sessions know something of the call."""
        return [*(each.session for each in self.dialogues), *(each.session for each in self.subscriptions)]

    def next_session(self) -> str:
        """Return a name for another one."""
        self.sequence += 1
        return f"{PREFIX}{self.sequence}/{self.call_id}"

    def subscription(self, tag: str) -> Subscription | None:
        """Return what the subscriber of that tag gets."""
        return next((each for each in self.subscriptions if each.subscriber.named(tag)), None)

    def find(self, tag: str | None) -> Participant | None:
        """Return the participant of that tag."""
        return next((each for each in self.participants if each.named(tag)), None)

    def dialogues_of(self, participant: Participant) -> Iterator[Dialogue]:
        """Yield the dialogues that someone takes part in."""
        return (each for each in self.dialogues if each.has(participant))

    def label(self, label: str) -> Participant | None:
        """Return the participant of that label."""
        return next((each for each in self.participants if each.label == label), None)


class Calls:
    """Every call that a proxy has made here."""

    def __init__(self) -> None:
        self._calls: dict[str, Call] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Call]:
        return iter(tuple(self._calls.values()))

    def find(self, call_id: str) -> Call | None:
        """Return a call, None if it is unknown."""
        return self._calls.get(call_id)

    def get(self, call_id: str) -> Call:
        """Return a call. Raises NgError if it is unknown."""
        call = self._calls.get(call_id)
        if call is None:
            raise NgError(UNKNOWN_CALL)
        return call

    def of_session(self, session: str) -> Call | None:
        """Return the call that one of the media sessions' names is of."""
        return self.find(session.removeprefix(PREFIX).partition("/")[2]) if session.startswith(PREFIX) else None

    def hold_sound(self, session: str, held: Leg) -> str:
        """Return what a leg of a session is to hear while the other one holds; empty for nothing."""
        call = self.of_session(session)
        dialogue = next((each for each in call.dialogues if each.session == session), None) if call else None
        holder = (dialogue.b if held == "a" else dialogue.a) if dialogue else None
        return holder.moh.file if holder and holder.moh else ""

    def sounds(self) -> Iterator[str]:
        """Yield what somebody may still hear while another one holds."""
        return (each.moh.file for call in self for each in call.participants if each.moh)

    def add(self, call: Call) -> None:
        """Take a call in."""
        self._calls[call.call_id] = call

    def remove(self, call: Call) -> None:
        """Forget a call and all that is in it."""
        self._calls.pop(call.call_id, None)


def offered(call: Call, request: Request, now: float) -> tuple[Dialogue, Participant]:
    """Return the dialogue of an offer and who offers; both are made where they are new."""
    offerer = participant(call, request.required("from-tag", "No from-tag in message"), now)
    to_tag, branch = request.text("to-tag"), request.text("via-branch")
    if to_tag is not None:
        known = call.find(to_tag)
        for dialogue in call.dialogues_of(offerer):
            if dialogue.other(offerer) is known:
                return dialogue, offerer
    dialogue = _awaiting(call, offerer, branch) or _fork(call, offerer, branch, now)
    if to_tag is not None:
        _name(call, dialogue.other(offerer), to_tag)
    return dialogue, offerer


def answered(call: Call, request: Request) -> tuple[Dialogue, Participant]:
    """Return the dialogue of an answer and who answers. Raises NgError if no offer asked for it."""
    from_tag = request.required("from-tag", "No from-tag in message")
    to_tag = request.required("to-tag", "No to-tag in message")
    offerer = call.find(from_tag)
    if offerer is None:
        raise NgError("Unknown from-tag: no offer of it was seen")
    known = call.find(to_tag)
    for dialogue in call.dialogues_of(offerer):
        if known is not None and dialogue.other(offerer) is known:
            return dialogue, known
    found = _awaiting(call, offerer, request.text("via-branch")) or next(call.dialogues_of(offerer))
    answerer = found.other(offerer)
    _name(call, answerer, to_tag)
    return found, answerer


def keep(call: Call, request: Request, participant: Participant) -> None:
    """What a request says of the call and of who sent it. Raises NgError."""
    call.metadata = request.text("metadata") or call.metadata
    keep_tenant(call, request)
    wish = (request.text("record-call") or ("on" if request.has("record-call") else "")).lower()
    if wish:
        call.record = wish in ("on", "yes", "1", "true")
    participant.label = request.text("set-label") or request.text("label") or participant.label


def keep_tenant(call: Call, request: Request) -> None:
    """Whose call a request says it is. Raises NgError."""
    tenant = request.text("tenant") or call.tenant
    if len(tenant) > LONGEST_TENANT:
        raise NgError(f"tenant is a name of at most {LONGEST_TENANT} characters")
    call.tenant = tenant


def selected(call: Call, request: Request) -> list[Dialogue]:
    """Return the dialogues that a delete means: those of a branch, of a tag, or all."""
    branch, tag = request.text("via-branch"), request.text("from-tag")
    if branch is not None:
        return [each for each in call.dialogues if branch in (each.a.branch, each.b.branch)] or call.dialogues[:]
    if tag is not None:
        participant = call.find(tag)
        if participant is None:
            return []
        named = list(call.dialogues_of(participant))
        to_tag = request.text("to-tag") if request.has("to-tag") else None
        return [each for each in named if to_tag is None or each.other(participant).named(to_tag)]
    return call.dialogues[:]


def participant(call: Call, tag: str, now: float) -> Participant:
    """Return who has a tag; made where it is new."""
    found = call.find(tag)
    if found is None:
        found = Participant(created=now, tag=tag)
        call.participants.append(found)
    return found


def _awaiting(call: Call, offerer: Participant, branch: str | None) -> Dialogue | None:
    """Return the dialogue whose other side has no name yet, of this branch where one is given."""
    for dialogue in call.dialogues_of(offerer):
        other = dialogue.other(offerer)
        if branch is not None and other.branch == branch:
            return dialogue
        if other.tag is None and (branch is None or other.branch is None):
            return dialogue
    return None


def _fork(call: Call, offerer: Participant, branch: str | None, now: float) -> Dialogue:
    nameless = Participant(created=now, branch=branch)
    call.participants.append(nameless)
    dialogue = Dialogue(call.next_session(), offerer, nameless)
    call.dialogues.append(dialogue)
    return dialogue


def _name(call: Call, participant: Participant, tag: str) -> None:
    """The first tag is the name, a later one another name for the same."""
    if participant.tag is None:
        participant.tag = tag
    elif not participant.named(tag) and call.find(tag) is None:
        participant.aliases.append(tag)
