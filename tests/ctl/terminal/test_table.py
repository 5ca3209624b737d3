# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads of a value."""

from typing import Any

import pytest

from ctl.terminal.table import Column, counted, plain, render, room, si


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ("", "-"),
        ([], "-"),
        ({}, "-"),
        (0, "0"),
        ([True, False], "yes, no"),
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


NAMES = (Column("ID", "id"), Column("NAME", "name", keep=9), Column("N", "n", right=True, keep=8))


def test_a_long_value_gives_way_to_other_columns_on_a_narrow_terminal_alone() -> None:
    row = {"id": "i" * 40, "name": "n" * 300, "n": 7}
    assert (
        render([row], NAMES, header=False, human=True, width=80)
        == f"{'i' * 40}  {'n' * 31}\N{HORIZONTAL ELLIPSIS}  7\n"
    )
    assert render([row], NAMES, header=False, human=True, width=400) == f"{'i' * 40}  {'n' * 300}  7\n"
    assert render([row], NAMES, header=False, human=False) == f"{'i' * 40}  {'n' * 300}  7\n"


def test_letters_of_two_places_and_of_none_stay_below_their_titles() -> None:
    rows = [
        {"id": "1", "name": "山田太郎", "n": 1},
        {"id": "2", "name": "Zoe\u0301", "n": 2},
        {"id": "3", "name": "Jo", "n": 3},
    ]
    lines = render(rows, NAMES, header=True, human=True, width=80).splitlines()
    assert {room(line) for line in lines} == {len("ID  12345678  N")}
    wide = render([{"id": "1", "name": "山" * 50, "n": 1}], NAMES, header=False, human=True, width=40)
    assert room(wide.rstrip()) <= 40
    assert wide.endswith("  1\n")


@pytest.mark.parametrize("name", ["a\x1b[2Jb", "a\nb", "a\u202eb", "a\x9bb"])
@pytest.mark.parametrize("human", [True, False])
def test_what_somebody_chose_moves_no_cursor(name: str, human: bool) -> None:
    assert "a\N{REPLACEMENT CHARACTER}" in plain(name)
    (line,) = render([{"id": "1", "name": name, "n": 1}], NAMES, header=False, human=human).split("\n")[:-1]
    assert line.replace("\N{REPLACEMENT CHARACTER}", "").isprintable()
    assert "\N{REPLACEMENT CHARACTER}" in line
