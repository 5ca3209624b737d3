# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables as plain lines: whole values, two spaces between columns, numbers to the right; no box, never cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Column:
    """One column. value: the key of the row, or a function of it. unit: "si" shortens numbers on a terminal."""

    title: str
    value: str | Callable[[Mapping[str, Any]], Any]
    right: bool = False
    unit: str = ""

    def text(self, row: Mapping[str, Any], human: bool) -> str:
        """Return the cell of `row`; what is not known is a dash."""
        value = row.get(self.value) if isinstance(self.value, str) else self.value(row)
        if value is None or value == "":
            return "-"
        if isinstance(value, float):
            return f"{value:.1f}"
        if human and self.unit == "si" and isinstance(value, int):
            return si(value)
        return str(value)


def si(number: int) -> str:
    """Shorten a count for a reader: 12345 is 12.3k."""
    value = float(number)
    for suffix in ("", "k", "M", "G"):
        if abs(value) < 1000:
            return f"{value:.1f}{suffix}" if suffix else str(number)
        value /= 1000
    return f"{value:.1f}T"


def counted(number: int, noun: str) -> str:
    """Put a regular noun behind a number: 1 flow, 4 flows."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def plain(value: Any) -> str:
    """Write any value as one cell; what is not known is a dash, a list has commas, an endpoint its colon."""
    if value is None or value == "":
        return "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value)) or "-"
    if isinstance(value, Mapping):
        if value.keys() == {"address", "port"}:
            return f"{value['address']}:{plain(value['port'])}"
        return ", ".join(f"{key} {plain(each)}" for key, each in value.items()) or "-"
    return str(value)


def render(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], *, header: bool, human: bool) -> str:
    """Return the table as text with a newline at the end of each line."""
    cells = [[column.text(row, human) for column in columns] for row in rows]
    lines = [[column.title for column in columns], *cells] if header else cells
    widths = [max((len(line[place]) for line in lines), default=0) for place in range(len(columns))]
    return "".join(_line(line, columns, widths) for line in lines)


def _line(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> str:
    padded = (
        cell.rjust(width) if column.right else cell.ljust(width)
        for cell, column, width in zip(cells, columns, widths, strict=True)
    )
    return "  ".join(padded).rstrip() + "\n"
