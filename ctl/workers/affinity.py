# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls that are better served by another worker than by the one of their Call-ID: those that one party may connect.

A transfer with Replaces joins two calls, and both must be in one process then. So a user who talks in one worker has
its further calls served there, and an INVITE that replaces a dialog goes to where that is.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator

from sip.steering import call_id_of, slot_of
from sip.views import CallView

STEADY_SECONDS = 0.5
"""Before that nobody transfers a call, and many are over; then it is told at once."""
MOST_CALLS = 3
"""Of a user who is served in one worker."""
_CALLER = re.compile(rb"\n(?:from|f)[ \t]*:[^\r\n]*?\bsips?:([^@;>\s]+)@", re.IGNORECASE)
_CALLEE = re.compile(rb"INVITE sips?:([^@;>\s]+)@", re.IGNORECASE)
_IN_DIALOG = re.compile(rb"\n(?:to|t)[ \t]*:[^\r\n]*;[ \t]*tag[ \t]*=", re.IGNORECASE)
_REPLACED = re.compile(rb"\nreplaces[ \t]*:[ \t]*([^;,\s]+)", re.IGNORECASE)


class Affinity:
    """What one worker knows of whom the others serve. tell: to the controller, who keeps it for all.

    user_of: names the user to whom a number leads.
    """

    def __init__(
        self,
        number: int,
        workers: int,
        tell: Callable[..., None],
        user_of: Callable[[str], str | None] = lambda _number: None,
    ) -> None:
        self._number, self._workers = number, workers
        self._tell, self._user_of = tell, user_of
        self._served: dict[bytes, int] = {}
        """Call-IDs of our slots that another worker serves."""
        self._talking: dict[int, frozenset[bytes]] = {}
        """Users who talk, by the worker where they do."""
        self._told: frozenset[bytes] = frozenset()
        self._many: frozenset[bytes] = frozenset()
        """Users with more calls than a person has."""
        self._begun: deque[tuple[float, str]] = deque()
        """Calls that were answered a moment ago, and when each is worth telling of."""
        self._foreign: dict[bytes, bool] = {}
        """Call-IDs of others' slots that we serve, and whether there was a call when we looked last."""

    def place(self, message: bytes) -> int:
        """The worker that a message is for, as far as this one knows; itself where nothing says otherwise."""
        call_id = call_id_of(message)
        if call_id is None:
            return self._number
        worker = slot_of(call_id) % self._workers
        if worker != self._number:
            return worker
        served = self._served.get(call_id)
        if served is None and message.startswith(b"INVITE "):
            served = self._chosen(message)
            if served is not None:
                self._served[call_id] = served
                self._tell("served", call_id, served)
        return self._number if served is None else served

    def is_ours(self, message: bytes) -> bool:
        """Whether a message that was handed to us is of a Call-ID of ours, so that we are to say whose it is."""
        call_id = call_id_of(message)
        if call_id is None:
            return False
        if slot_of(call_id) % self._workers == self._number:
            return True
        self._foreign.setdefault(call_id, True)
        return False

    def serve(self, call_id: bytes, worker: int) -> None:
        """Another worker serves this Call-ID of ours; -1: nobody does any more."""
        if worker < 0:
            self._served.pop(call_id, None)
        else:
            self._served[call_id] = worker

    def talk(self, worker: int, users: Iterable[bytes]) -> None:
        """These users, and no others, talk in another worker."""
        self._talking[worker] = frozenset(users)

    def add(self, worker: int, users: Iterable[bytes]) -> None:
        """These users talk in another worker, too."""
        self._talking[worker] = self._talking.get(worker, frozenset()).union(users)

    def answered(self, call: str, now: float) -> None:
        """A call was answered here."""
        self._begun.append((now + STEADY_SECONDS, call))

    def tell_begun(self, find: Callable[[str], CallView | None], now: float) -> None:
        """Tell who has begun to talk and still does, without a look at all calls; several times a second."""
        users: set[bytes] = set()
        while self._begun and self._begun[0][0] <= now:
            call = find(self._begun.popleft()[1])
            if call is not None and call.answered is not None:
                users.update(user.encode() for user in _users(call))
        users -= self._told | self._many
        if users:
            self._told |= users
            self._tell("talks", list(users))

    def look(self, calls: Collection[CallView], now: float) -> None:
        """Tell who talks here, and which Call-IDs of others we serve no more; each second.

        Who has more calls than somebody can connect to each other is no person, and is served by all.
        """
        steady = (call for call in calls if call.answered is not None and now - call.answered >= STEADY_SECONDS)
        counted = Counter(user for call in steady for user in set(_users(call)))
        talking = frozenset(user.encode() for user, number in counted.items() if number <= MOST_CALLS)
        self._many = frozenset(user.encode() for user, number in counted.items() if number > MOST_CALLS)
        if talking != self._told:
            self._told = talking
            self._tell("talking", list(talking))
        there = {call_id for call in calls for call_id in _call_ids(call)}
        for call_id, before in tuple(self._foreign.items()):
            if call_id not in there and not before:
                del self._foreign[call_id]
                self._tell("served", call_id, -1)
            else:
                self._foreign[call_id] = call_id in there

    def restored(self, calls: Iterable[CallView]) -> None:
        """We go on with these calls: say so of each Call-ID that is not ours."""
        for call_id in (call_id for call in calls for call_id in _call_ids(call)):
            if slot_of(call_id) % self._workers != self._number:
                self._foreign[call_id] = True
                self._tell("served", call_id, self._number)

    def _chosen(self, invite: bytes) -> int | None:
        """Who is to serve a new call of our slots, None: ourselves."""
        replaced = _REPLACED.search(invite)
        if replaced:
            call_id = replaced[1]
            worker = self._served.get(call_id, slot_of(call_id) % self._workers)
            return None if worker == self._number else worker
        if not any(self._talking.values()) or _IN_DIALOG.search(invite):
            return None
        for party in self._parties(invite):
            if party not in self._told:
                for worker, users in self._talking.items():
                    if party in users:
                        return worker
        return None

    def _parties(self, invite: bytes) -> Iterator[bytes]:
        """Who calls, who is called, and the user whose number that is."""
        if found := _CALLER.search(invite):
            yield found[1]
        if found := _CALLEE.match(invite):
            yield found[1]
            user = self._user_of(found[1].decode("utf-8", "surrogateescape"))
            if user:
                yield user.encode()


def _users(call: CallView) -> Iterator[str]:
    yield call.caller
    yield call.dialled
    for leg in (call.a, call.b):
        if leg and leg.user:
            yield leg.user


def _call_ids(call: CallView) -> Iterator[bytes]:
    for leg in (call.a, call.b):
        if leg and leg.call_id:
            yield leg.call_id.encode("utf-8", "surrogateescape")
