# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables as plain lines: whole values, two spaces between columns, numbers to the right; no box.

On a terminal that is too narrow values that are very long are shortened, but for the first column, which names the row;
if that is not enough whole columns are left out, those first that are missed least. Elsewhere nothing is. What others
chose, such as names, can move no cursor: of what is not printable there is a mark.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

GAP = "  "
ID_SHOWN = 8
LONG, LEFT = 48, 32
"""Places that a value may have at most where room is short, and what is left of one that has more."""
STYLES = {"bold": "\x1b[1m", "dim": "\x1b[2m", "red": "\x1b[31m", "green": "\x1b[32m", "yellow": "\x1b[33m"}
RESET = "\x1b[0m"


@dataclass(frozen=True, slots=True)
class Column:
    """One column. value: the key of the row, or a function of it. unit: on a terminal, "si" shortens numbers and "id"
    identifiers, of which a beginning will do.

    keep: among columns that do not all fit, those with less go first. style: the name of a colour for a row, or "".
    """

    title: str
    value: str | Callable[[Mapping[str, Any]], Any]
    right: bool = False
    unit: str = ""
    keep: int = 9
    style: Callable[[Mapping[str, Any]], str] | None = None

    def text(self, row: Mapping[str, Any], human: bool) -> str:
        """Return the cell of `row`; what is not known is a dash."""
        value = row.get(self.value) if isinstance(self.value, str) else self.value(row)
        if value is None or value == "":
            return "-"
        if isinstance(value, float):
            return f"{value:.1f}"
        if human and self.unit == "si" and isinstance(value, int):
            return si(value)
        return str(value)[:ID_SHOWN] if human and self.unit == "id" else printable(str(value))


@dataclass(frozen=True, slots=True)
class Grid:
    """A table before it is put together. cells: without the titles."""

    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]
    cells: Sequence[Sequence[str]]
    widths: Sequence[int]
    hidden: int = 0

    def titles(self) -> str:
        """Return the line of titles."""
        return self._line([column.title for column in self.columns])

    def line(self, place: int, color: bool = False) -> str:
        """Return the line of one row."""
        return self._line(self.cells[place], self.rows[place] if color else None)

    def _line(self, cells: Sequence[str], styled: Mapping[str, Any] | None = None) -> str:
        parts = []
        for cell, column, width in zip(cells, self.columns, self.widths, strict=True):
            space = " " * (width - room(cell))
            padded = space + cell if column.right else cell + space
            style = column.style(styled) if styled is not None and column.style else ""
            parts.append(f"{STYLES[style]}{padded}{RESET}" if style else padded)
        return GAP.join(parts).rstrip()


def printable(text: str) -> str:
    """Return the text with a mark in place of each character that would do something to a terminal."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def room(text: str) -> int:
    """Return how many places of a terminal the text takes: Chinese characters have two, combining accents none."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(each) else 2 if east_asian_width(each) in "WF" else 1 for each in text)


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
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value)) or "-"
    if isinstance(value, Mapping):
        if value.keys() == {"address", "port"}:
            return endpoint(value)
        return ", ".join(f"{key} {plain(each)}" for key, each in value.items()) or "-"
    return printable(str(value))


def endpoint(value: Mapping[str, Any] | None, unknown: str = "-") -> str:
    """Write an endpoint, an IPv6 address in brackets; unknown: the port that is not known yet."""
    if not value:
        return "-"
    address = f"[{value['address']}]" if ":" in value["address"] else value["address"]
    return f"{address}:{value['port'] or unknown}"


def grid(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], *, human: bool, width: int = 0) -> Grid:
    """Return the table; with a width, in characters, only the columns that fit into it."""
    cells = [[column.text(row, human) for column in columns] for row in rows]
    widths = _widths(columns, cells)
    if width and sum(widths) + len(GAP) * (len(widths) - 1) > width:
        cells = [[*line[:1], *map(_short, line[1:])] for line in cells]
        widths = _widths(columns, cells)
    kept = _fitting(columns, widths, width) if width else list(range(len(columns)))
    return Grid(
        [columns[place] for place in kept],
        rows,
        [[line[place] for place in kept] for line in cells],
        [widths[place] for place in kept],
        len(columns) - len(kept),
    )


def render(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[Column],
    *,
    header: bool,
    human: bool,
    width: int = 0,
    color: bool = False,
) -> str:
    """Return the table as text with a newline at the end of each line."""
    table = grid(rows, columns, human=human, width=width)
    lines = [table.line(place, color) for place in range(len(rows))]
    if header:
        titles = table.titles()
        lines.insert(0, f"{STYLES['bold']}{titles}{RESET}" if color else titles)
    return "".join(f"{line}\n" for line in lines)


def _widths(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> list[int]:
    return [max([len(column.title), *(room(line[place]) for line in cells)]) for place, column in enumerate(columns)]


def _short(cell: str) -> str:
    if room(cell) <= LONG:
        return cell
    end = LEFT - 1
    while room(cell[:end]) >= LEFT:
        end -= 1
    return f"{cell[:end]}\N{HORIZONTAL ELLIPSIS}"


def _fitting(columns: Sequence[Column], widths: Sequence[int], width: int) -> list[int]:
    kept = list(range(len(columns)))
    while len(kept) > 1 and sum(widths[place] for place in kept) + len(GAP) * (len(kept) - 1) > width:
        kept.remove(min(reversed(kept), key=lambda place: columns[place].keep))
    return kept
