# SPDX-License-Identifier: GPL-3.0-or-later
"""How a call ends, and the search for somebody who answers: targets in turn, and the failure that tells most."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Literal

from sip.causes import (
    BUSY,
    NEXT_TARGET,
    NO_ANSWER,
    NOT_ACCEPTABLE_HERE,
    RECOVERY_ON_TIMER,
    UNREACHED,
    cause_in,
    cause_of,
    status_for_caller,
)
from sip.facts import fact
from sip.message import Message, Response
from sip.outgoing import Destination, Group

_ABSENT = 20


@fact
class Ending:
    """How a call ends: the status for an INVITE that waits, the Q.850 cause, who ended it; trunk: which had no room."""

    status: int
    cause: int
    by: Literal["a", "b", "server"]
    reason: str = ""
    trunk: str = ""


class Hunt:
    """The targets of one call, in groups that ring together. admit: why a destination cannot be tried, None: it can.

    shapes: in how many shapes media can make the offer at hand: targets are asked with one after the other while they
    answer 488, and rounds times with all of them. attempt: how many of those the present targets have refused.
    """

    def __init__(self, admit: Callable[[Destination], Ending | None], rounds: int = 1) -> None:
        self._admit = admit
        self._rounds = rounds
        self.shapes = 1
        self._unfit: list[Destination] = []
        """Those that refused the shape at hand, and have not seen the others."""
        self.attempt = 0
        self._groups: deque[Group] = deque()
        self._failure: Ending | None = None
        self._outcome = "no_answer"
        """How the last ones ended; a user whom nothing reaches does not answer either."""
        self._decided = False
        """Whether no other target would answer differently."""

    @property
    def ending(self) -> Ending:
        """What to tell the caller when nobody is left."""
        return self._failure or Ending(480, _ABSENT, "server", "Nobody Is Registered")

    def add(self, groups: Iterable[Group]) -> None:
        """More targets, before the others; those of a redirection are due, whatever was said before."""
        if self._decided:
            self._groups = deque(group for group in self._groups if group[0].after != "any")
            self._decided = False
        self._groups.extendleft(reversed(list(groups)))

    def stop(self) -> None:
        """Try no other target."""
        self._groups.clear()
        self._unfit.clear()

    def next(self) -> Group:
        """Those to try next, () when nobody is left; first the same again, where the offer has another shape."""
        if self._unfit and not self._decided:
            again, self._unfit = tuple(self._unfit), []
            self.attempt += 1
            return again
        self.attempt = 0
        self._unfit.clear()
        while self._groups:
            group = self._groups.popleft()
            if self._is_due(group[0]) and (group := tuple(each for each in group if self._admitted(each))):
                self._decided = False
                return group
        return ()

    def unanswered(self) -> None:
        """The targets under way rang too long."""
        self._outcome = "no_answer"
        self._keep(Ending(480, NO_ANSWER, "server", "No Answer"))

    def unfit(self, ending: Ending) -> None:
        """Targets were not tried, for media cannot speak with them what it speaks with the caller: others may do."""
        self._outcome = ""
        self._keep(ending)

    def failed(self, destination: Destination, response: Message | None) -> None:
        """One target failed, with this response or without any.

        A busy or declined call ends the search, and whatever no other target would answer differently: but for those
        that are there for the busy.
        """
        if not isinstance(response, Response):
            self._outcome = "no_answer"
            self._keep(Ending(408, RECOVERY_ON_TIMER, "server", "No Response"))
            self._decide(destination, 408, RECOVERY_ON_TIMER)
            return
        again = self.attempt + 1 < self._rounds * self.shapes
        if response.status == NOT_ACCEPTABLE_HERE and again and not destination.leg:
            self._unfit.append(destination)
            return
        status, cause = response.status, cause_in(response, cause_of(response.status))
        self._outcome = "busy" if status in BUSY else "no_answer" if status in UNREACHED else ""
        told = status_for_caller(status)
        self._keep(Ending(told, cause, "b", response.reason if told == status else ""))
        self._decide(destination, status, cause)

    def _is_due(self, destination: Destination) -> bool:
        """Whether a target's turn has come, as what came before has ended."""
        return not self._decided if destination.after == "any" else destination.after == self._outcome

    def _decide(self, destination: Destination, status: int, cause: int) -> None:
        usual = destination.next_on is None
        again = status in NEXT_TARGET if usual else cause in (destination.next_on or ())
        self._decided = self._decided or not again

    def _admitted(self, destination: Destination) -> bool:
        refusal = self._admit(destination)
        if refusal:
            self._keep(refusal)
        return refusal is None

    def _keep(self, failure: Ending) -> None:
        """Keep the failure of the lowest class, a 6xx above all (RFC 3261 §16.7 step 6)."""
        kept = self._failure
        if kept is None or failure.status >= 600 or failure.status // 100 < kept.status // 100:
            self._failure = failure
