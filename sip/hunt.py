# SPDX-License-Identifier: GPL-3.0-or-later
"""How a call ends, and the search for somebody who answers: targets one by one, and the failure that tells most."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from sip.causes import NEXT_TARGET, NO_ANSWER, RECOVERY_ON_TIMER, cause_in, cause_of, status_for_caller
from sip.effects import Address
from sip.message import Message, Response
from sip.outgoing import Destination

_ABSENT = 20


@dataclass(frozen=True, slots=True)
class Ending:
    """How a call ends: the status for an INVITE that waits, the Q.850 cause, who ended it."""

    status: int
    cause: int
    by: Literal["a", "b", "server"]
    reason: str = ""


class Hunt:
    """The targets of one call. is_ours: whether an address is one of ours, and so no target."""

    def __init__(self, is_ours: Callable[[Address], bool]) -> None:
        self._is_ours = is_ours
        self._targets: deque[Destination] = deque()
        self._failure: Ending | None = None
        self.current: Destination | None = None

    @property
    def ending(self) -> Ending:
        """What to tell the caller when nobody is left."""
        return self._failure or Ending(480, _ABSENT, "server", "Nobody Is Registered")

    def add(self, targets: Iterable[Destination]) -> None:
        """More targets, behind the others."""
        self._targets.extend(targets)

    def stop(self) -> None:
        """Try no other target."""
        self._targets.clear()

    def next(self) -> Destination | None:
        """The next target that is not ourselves: what we would send there comes back for ever."""
        self.current = None
        while self._targets and self.current is None:
            target = self._targets.popleft()
            if self._is_ours(target.address):
                self._keep(Ending(482, cause_of(482), "server", "Loop Detected"))
            else:
                self.current = target
        return self.current

    def unanswered(self) -> None:
        """The current target rang too long."""
        self._keep(Ending(480, NO_ANSWER, "server", "No Answer"))

    def failed(self, response: Message | None) -> None:
        """The current target failed, with this response or without any. A busy or declined call ends the search."""
        if not isinstance(response, Response):
            self._keep(Ending(408, RECOVERY_ON_TIMER, "server", "No Response"))
            return
        status = status_for_caller(response.status)
        reason = response.reason if status == response.status else ""
        self._keep(Ending(status, cause_in(response, cause_of(response.status)), "b", reason))
        if response.status not in NEXT_TARGET:
            self.stop()

    def _keep(self, failure: Ending) -> None:
        """Keep the failure of the lowest class, a 6xx above all (RFC 3261 §16.7 step 6)."""
        kept = self._failure
        if kept is None or failure.status >= 600 or failure.status // 100 < kept.status // 100:
            self._failure = failure
