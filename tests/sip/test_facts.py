# SPDX-License-Identifier: GPL-3.0-or-later
from dataclasses import field, replace

from sip.facts import fact


@fact
class Point:
    x: int
    y: int = 0
    names: tuple[str, ...] = field(default=(), compare=False)


def test_facts_are_compared_and_hashed_by_their_fields():
    assert Point(1, 2) == Point(1, 2, ("a",)) != Point(2, 1)
    assert len({Point(1, 2), Point(1, 2, ("a",)), Point(1)}) == 2
    assert replace(Point(1, 2), y=3) == Point(1, 3)


def test_facts_are_as_small_as_can_be():
    assert not hasattr(Point(1), "__dict__")
    assert Point.__slots__ == ("x", "y", "names")
