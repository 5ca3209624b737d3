# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of several controllers that share an engine is to hear of which event: whoever set or read the flow last."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable

from media.flows import EngineEvent, FlowKey

MOST = 1024
"""Events that wait for one owner; the oldest give way, should it never ask."""


class EventQueues:
    """Events by owner, a name that a controller gives itself. What is of no flow is the nameless one's."""

    def __init__(self) -> None:
        self._owners: dict[FlowKey, str] = {}
        self._waiting: defaultdict[str, deque[EngineEvent]] = defaultdict(lambda: deque(maxlen=MOST))

    def own(self, keys: Iterable[FlowKey], owner: str) -> None:
        """Note who has these flows, as one that takes over another's calls does by reading them.

        Of the nameless one's nothing is kept: where nobody shares the engine, that would be memory for each flow.
        """
        if owner:
            self._owners |= dict.fromkeys(keys, owner)
        elif self._owners:
            self.disown(keys)

    def disown(self, keys: Iterable[FlowKey]) -> None:
        """Forget flows that are no more."""
        for key in keys:
            self._owners.pop(key, None)

    def sort_in(self, events: Iterable[EngineEvent]) -> None:
        """Have these wait for their owners; RTCP, which comes again, only where there is much room."""
        for event in events:
            waiting = self._waiting[self._owners.get(event.flow, "")]
            if event.type != "rtcp" or len(waiting) < MOST // 2:
                waiting.append(event)

    def take(self, owner: str, most: int = MOST) -> tuple[EngineEvent, ...]:
        """Return what waits for one, oldest first."""
        waiting = self._waiting[owner]
        taken = tuple(waiting.popleft() for _ in range(min(most, len(waiting))))
        if not waiting:
            del self._waiting[owner]
        return taken
