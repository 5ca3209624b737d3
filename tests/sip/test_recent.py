# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from sip.recent import Recent


def test_what_is_used_stays_and_what_is_not_goes() -> None:
    table: Recent[int, str] = Recent(10)
    table.put(-1, "used")
    for number in range(100):
        table.put(number, str(number))
        assert table.get(-1) == "used"
        assert len(table) <= 10
    assert table.get(99) == "99"
    assert table.get(50) is None
    assert len(table) >= 5


def test_a_value_is_replaced() -> None:
    table: Recent[str, int] = Recent(4)
    for key in "abc":
        table.put(key, 1)
    table.put("a", 2)
    assert [table.get(key) for key in "abcd"] == [2, 1, 1, None]
    assert len(table) == 3
