# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from provisioning.hours import OpeningHours

OFFICE = OpeningHours(
    ZoneInfo("Europe/Paris"),
    {0: ((480, 720), (780, 1080)), 5: ((0, 1440),)},
    {date(2026, 5, 25): (), date(2026, 5, 26): ((600, 660),)},
)


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (datetime(2026, 5, 4, 6, 0, tzinfo=UTC), True),  # Monday, 08:00 in Paris
        (datetime(2026, 5, 4, 5, 59, tzinfo=UTC), False),
        (datetime(2026, 5, 4, 10, 30, tzinfo=UTC), False),  # lunch
        (datetime(2026, 5, 4, 15, 59, 59, tzinfo=UTC), True),
        (datetime(2026, 5, 4, 16, 0, tzinfo=UTC), False),
        (datetime(2026, 1, 5, 7, 0, tzinfo=UTC), True),  # winter time
        (datetime(2026, 1, 5, 6, 59, tzinfo=UTC), False),
        (datetime(2026, 5, 8, 22, 0, tzinfo=UTC), True),  # Saturday began in Paris
        (datetime(2026, 5, 9, 21, 59, tzinfo=UTC), True),
        (datetime(2026, 5, 9, 22, 0, tzinfo=UTC), False),
        (datetime(2026, 5, 25, 8, 0, tzinfo=UTC), False),  # a Monday, but a holiday
        (datetime(2026, 5, 26, 8, 30, tzinfo=UTC), True),  # a Tuesday, but open
        (datetime(2026, 3, 30, 6, 0, tzinfo=UTC), True),  # the day after the clocks changed
    ],
)
def test_open(moment: datetime, expected: bool) -> None:
    assert OFFICE.is_open(moment) is expected
    assert OFFICE.is_open(moment.astimezone(ZoneInfo("Asia/Tokyo"))) is expected
