# SPDX-License-Identifier: GPL-3.0-or-later
"""What is put in goes out by numbers of the leg's packets, some of them before the leg has come to them itself.

Only the engine knows which, and leaves the leg's out. So it goes on carrying a pair after the last sound or digit, and
nobody else may, until the leg is beyond what was used up: else the listener would get two packets by one number.
"""

from __future__ import annotations

from dataclasses import replace

from ctl.sessions.flow_plan import FlowPlan, Key, Pair, key


class Riding:
    """Pairs that the engine carries on, and what is planned of each for when it need not any more."""

    def __init__(self) -> None:
        self._planned: dict[Key, tuple[str, Pair]] = {}

    def go_on(self, call: str, planned: Pair) -> None:
        """Remember what a pair of a call is to be."""
        self._planned[key(planned)] = call, planned

    def end(self, pair: Pair) -> None:
        """Forget a pair, if it is known."""
        self._planned.pop(key(pair), None)

    def has(self, which: Key) -> bool:
        """Whether a pair rides on."""
        return which in self._planned

    def waiting(self) -> list[tuple[str, Pair]]:
        """Return all that is planned, by calls."""
        return list(self._planned.values())


def riding_on(before: Pair, after: Pair) -> Pair | None:
    """Return how the engine carries a pair on between two plans of it; None where nothing need come between."""
    if not any(map(_needs, before, after)):
        return None
    there, back = map(_between, before, after)
    return there, back


def _needs(before: FlowPlan, after: FlowPlan) -> bool:
    """Where a codec is between, as also with reports of our own, or an SSRC of ours is used, no number is used up."""
    if before.handling is None or before.handling.own or after.handling or before.path != "engine":
        return False
    return not (before.transcoding or after.transcoding or before.house or after.house or before.reports)


def _between(before: FlowPlan, after: FlowPlan) -> FlowPlan:
    handling = before.handling.passing() if before.handling and not after.handling else after.handling
    return replace(after, path="engine", reason=after.reason or before.reason, handling=handling)
