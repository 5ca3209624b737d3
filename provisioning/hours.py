# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening hours in the time of a place, with holidays and other exceptions. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Span = tuple[int, int]
"""Minutes of the day, the end not included."""


@dataclass(frozen=True, slots=True)
class OpeningHours:
    """Spans by weekday (0: Monday); `exceptions` replace those of a date, none of them meaning closed."""

    zone: ZoneInfo
    week: Mapping[int, tuple[Span, ...]] = field(default_factory=dict)
    exceptions: Mapping[date, tuple[Span, ...]] = field(default_factory=dict)

    def is_open(self, moment: datetime) -> bool:
        """Whether it is open; `moment` has a zone. Across a change of clocks, what local clocks show counts."""
        local = moment.astimezone(self.zone)
        minute = local.hour * 60 + local.minute
        day = local.date()
        spans = self.exceptions[day] if day in self.exceptions else self.week.get(local.weekday(), ())
        return any(begin <= minute < end for begin, end in spans)


def minutes(clock: str) -> int:
    """Return the minute of the day of "HH:MM"."""
    hour, _, minute = clock.partition(":")
    return int(hour) * 60 + int(minute)
