# SPDX-License-Identifier: GPL-3.0-or-later
"""Call-IDs that another worker serves than the one of their slot: of legs that have gone over into a call of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from sip.steering import call_id_of, slot_of
from sip.views import CallView


class Affinity:
    """What one worker knows of it. tell: to the controller, which passes it on to the worker of the slot."""

    def __init__(self, number: int, workers: int, tell: Callable[..., None]) -> None:
        self._number, self._workers = number, workers
        self._tell = tell
        self._served: dict[bytes, int] = {}
        """Call-IDs of our slots that another worker serves."""
        self._foreign: dict[bytes, bool] = {}
        """Call-IDs of others' slots that we serve, and whether there was a call when we looked last."""
        self._given: dict[bytes, tuple[int, bool]] = {}
        """Call-IDs of others' slots that we served until a moment ago: who does, and whether we have looked since."""

    def place(self, message: bytes) -> int:
        """The worker that a message is for, as far as this one knows; itself where nothing says otherwise."""
        call_id = call_id_of(message)
        if call_id is None:
            return self._number
        worker = self._owner(call_id)
        return worker if worker != self._number else self._served.get(call_id, self._number)

    def place_again(self, message: bytes) -> int:
        """The worker that a message is for which another one has handed to us.

        It may have come to us as the worker of its slot, who says whose it is, or because that one did not know yet to
        whom we have given its leg. That worker has heard so of us before.
        """
        call_id = call_id_of(message)
        if call_id is None:
            return self._number
        if self._owner(call_id) == self._number:
            return self._served.get(call_id, self._number)
        return self._given.get(call_id, (self._number, False))[0]

    def serve(self, call_id: bytes, worker: int) -> None:
        """Another worker serves this Call-ID of ours; -1: nobody does any more."""
        if worker in (-1, self._number):
            self._served.pop(call_id, None)
        else:
            self._served[call_id] = worker

    def give(self, call_id: bytes, worker: int) -> None:
        """We serve this Call-ID no more: another worker does."""
        self._foreign.pop(call_id, None)
        if self._owner(call_id) == self._number:
            self.serve(call_id, worker)
        else:
            self._given[call_id] = worker, False

    def claim(self, call_id: bytes) -> None:
        """We serve this Call-ID from now on."""
        self._given.pop(call_id, None)
        if self._owner(call_id) == self._number:
            self.serve(call_id, self._number)
            self._tell("served", call_id, -1)
        else:
            self._foreign[call_id] = True
            self._tell("served", call_id, self._number)

    def look(self, calls: Collection[CallView], borrowed: Iterable[bytes] = ()) -> None:
        """Tell which Call-IDs of others we serve no more; each second. borrowed: those of legs on loan."""
        if self._given:
            self._given = {call_id: (to, True) for call_id, (to, seen) in self._given.items() if not seen}
        if not self._foreign:
            return
        there = {*borrowed, *(call_id for call in calls for call_id in _call_ids(call))}
        for call_id, before in tuple(self._foreign.items()):
            if call_id not in there and not before:
                del self._foreign[call_id]
                self._tell("served", call_id, -1)
            else:
                self._foreign[call_id] = call_id in there

    def restored(self, calls: Iterable[CallView]) -> None:
        """We go on with these calls: say so of each Call-ID that is not ours."""
        for call_id in (call_id for call in calls for call_id in _call_ids(call)):
            if self._owner(call_id) != self._number:
                self.claim(call_id)

    def _owner(self, call_id: bytes) -> int:
        return slot_of(call_id) % self._workers


def _call_ids(call: CallView) -> Iterator[bytes]:
    for leg in (call.a, call.b):
        if leg and leg.call_id:
            yield leg.call_id.encode("utf-8", "surrogateescape")
