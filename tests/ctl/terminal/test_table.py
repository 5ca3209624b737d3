# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads of a value."""

from typing import Any

import pytest

from ctl.terminal.table import Column, counted, plain, render, si


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ("", "-"),
        ([], "-"),
        ({}, "-"),
        (0, "0"),
        (1.25, "1.25"),
        ("a b", "a b"),
        (("192.0.2.1", "192.0.2.2"), "192.0.2.1, 192.0.2.2"),
        ({"address": "192.0.2.1", "port": 4000}, "192.0.2.1:4000"),
        ({"address": "192.0.2.1", "port": None}, "192.0.2.1:-"),
        ({"state": "confirmed", "tags": ["a", "b"]}, "state confirmed, tags a, b"),
    ],
)
def test_a_value_in_words(value: Any, text: str) -> None:
    assert plain(value) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0 flows"), (1, "1 flow"), (2, "2 flows")])
def test_how_many(number: int, text: str) -> None:
    assert counted(number, "flow") == text


@pytest.mark.parametrize(
    ("number", "text"), [(999, "999"), (1000, "1.0k"), (12345, "12.3k"), (5_000_000, "5.0M"), (7 * 10**12, "7.0T")]
)
def test_a_count_is_shortened(number: int, text: str) -> None:
    assert si(number) == text


def test_a_table_is_aligned_and_never_cut() -> None:
    columns = (Column("NAME", "name"), Column("PACKETS", "packets", right=True, unit="si"))
    rows = [{"name": "x" * 30, "packets": 12345}, {"name": None, "packets": 7}]
    header, first, second = render(rows, columns, header=True, human=True).splitlines()
    assert first == "x" * 30 + "    12.3k"
    assert second == "-" + " " * 29 + "        7"
    assert header.endswith("PACKETS")
    assert render(rows, columns, header=False, human=False).splitlines()[0].split() == ["x" * 30, "12345"]
