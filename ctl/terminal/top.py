# SPDX-License-Identifier: GPL-3.0-or-later
"""What `voxdp top` shows and what its keys do, without a terminal: keys and rows in, lines out.

Pure. The keys are those of top and sngrep. Nothing heavy is imported, for the command is to be there at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ctl.terminal.filters import FilterError, compile_filter, order
from ctl.terminal.flow_columns import ALIASES, COLUMNS
from ctl.terminal.table import RESET, STYLES, Grid, counted, grid, plain, si

Row = dict[str, Any]

SORTS = ("id", "call", "codec", "source", "path", "rate", "packets", "loss_pct", "jitter_ms", "rtt_ms", "mos")
"""What < and > go through."""

FALLING = {"rate", "packets", "loss_pct", "jitter_ms", "rtt_ms"}
"""Of these the greatest are what one looks for."""

HELP = "q quit  / filter  < > sort  Z reverse  p pause  Enter details  R rtcp  ? help"
KEYS = """\
Up Down PgUp PgDn Home End   choose a flow
Enter, Right                 a flow in full, and why it is as it is
Esc, Left                    back; in the list: no filter any more
/                            filter, such as codec=PCMU,mos<3.5,src=10.0.0.0/8
                             Enter: done; Esc: none
< >                          the column to sort by
Z                            the other way round
R                            RTCP flows too, or not
p, Space                     pause: nothing moves
q, Ctrl-C                    quit"""
DETAILS = [
    "leg",
    "kind",
    "codec",
    "path",
    "state",
    "local",
    "source",
    "egress",
    "target",
    "packets",
    "packets_per_second",
    "lost",
    "loss_pct",
    "reordered",
    "duplicates",
    "ssrc",
    "ssrc_changes",
    "dscp",
    "jitter_ms",
    "jitter_max_ms",
    "largest_gap_ms",
    "idle_s",
    "mos",
    "mos_min",
    "mos_avg",
    "far_loss_pct",
    "far_jitter_ms",
    "leg_rtt_ms",
    "rtt_ms",
    "dtmf",
    "rejected",
    "rejected_source",
    "dropped",
    "last_reason",
]
"""Of a flow in full, what fits into 24 lines; `voxdp flow show` has all."""

INVERSE = "\x1b[7m"
CHROME = 4
"""Lines that are no flows: two above, titles, one below."""


@dataclass(slots=True)
class Top:
    """The state of the screen. now: of the clock on the wall, as text. trouble: why there are no fresh figures."""

    rows: Sequence[Row] = ()
    sort: str = "mos"
    reverse: bool = False
    filter: str = ""
    typing: str | None = None
    complaint: str = ""
    paused: bool = False
    rtcp: bool = False
    helping: bool = False
    chosen: str = ""
    detail: Mapping[str, Any] | None = None
    now: str = ""
    trouble: str = ""
    done: bool = False
    _counts: dict[str, tuple[int, float]] = field(default_factory=dict)
    _page: int = 10

    def feed(self, rows: Sequence[Row], moment: float, now: str) -> None:
        """Take fresh flows, unless paused. moment: seconds of a steady clock, for packets a second."""
        if self.paused:
            return
        counts = {}
        for row in rows:
            row["rate"] = self._rate(row, moment)
            counts[row["id"]] = (row["packets"], moment)
        self._counts = counts
        self.rows, self.now, self.trouble = rows, now, ""

    def shown(self) -> list[Mapping[str, Any]]:
        """Return the flows that are to be seen, in their order."""
        rows: list[Mapping[str, Any]] = [row for row in self.rows if self.rtcp or row["kind"] == "rtp"]
        try:
            rows = compile_filter(self.filter, ALIASES)(rows)
            self.complaint = ""
        except FilterError as error:
            self.complaint = str(error)
        falling = (self.sort in FALLING) != self.reverse
        return order(rows, f"-{self.sort}" if falling else self.sort)

    def selected(self) -> Mapping[str, Any] | None:
        """Return the flow that the bar is on."""
        rows = self.shown()
        return next((row for row in rows if row["id"] == self.chosen), rows[0] if rows else None)

    def key(self, key: str) -> None:
        """Do what a key says; keys without meaning do nothing."""
        if self.typing is not None:
            self._type(key)
        elif self.helping:
            self.helping = False
        elif self.detail is not None and key in ("escape", "left", "enter", "q"):
            self.detail = None
        else:
            self._command(key)

    def frame(self, width: int, height: int, color: bool = True) -> list[str]:
        """Return exactly `height` lines, none wider than `width` on the screen."""
        self._page = max(1, height - CHROME)
        if self.helping:
            lines = [_title("voxdp top: keys", width, color), "", *(line[:width] for line in KEYS.splitlines())]
        elif self.detail is not None:
            title = f"flow {self.detail['id']} of call {self.detail.get('call', '')}"
            lines = [_title(title, width, color), *detail_lines(self.detail, width)]
        else:
            lines = self._list(width, height, color)
        lines = lines[: height - 1]
        return [*lines, *[""] * (height - 1 - len(lines)), self._foot(width)]

    def _list(self, width: int, height: int, color: bool) -> list[str]:
        rows = self.shown()
        table = grid(rows, COLUMNS_OF_TOP, human=True, width=width)
        place = next((number for number, row in enumerate(rows) if row["id"] == self.chosen), 0)
        first = max(0, min(place - self._page // 2, len(rows) - self._page))
        visible = range(first, min(len(rows), first + self._page))
        titles = self._titles(table, width, color)
        body = [_row(table, number, number == place, width, color) for number in visible]
        return [*self._head(rows, width, color), titles, *body]

    def _head(self, rows: Sequence[Any], width: int, color: bool) -> list[str]:
        if self.trouble:
            return [
                _cut(f"voxdp top  {self.trouble}; the figures are of {self.now or 'never'}", width, color, "red"),
                "",
            ]
        media = [row for row in self.rows if row["kind"] == "rtp"]
        by_path = [f"{sum(row['path'] == path for row in media)} {path}" for path in ("kernel", "engine")]
        rate = sum(row["rate"] or 0 for row in self.rows)
        known = [row["mos"] for row in media if row["mos"] is not None]
        worst = f"{min(known):.2f}" if known else "unknown"
        calls = counted(len({row["call"] for row in self.rows}), "call")
        first = f"voxdp top {self.now}  {calls}  {counted(len(media), 'flow')}: {', '.join(by_path)}"
        second = f"{si(round(rate))} packets/s  worst MOS {worst}"
        silent = sum(row["rate"] is not None and row["rate"] < 1 for row in media)
        second += f"  {silent} silent" if silent else ""
        second += f"  shown {len(rows)}" if len(rows) != len(media) else ""
        second += f"  filter {self.filter}" if self.filter else ""
        second += "  PAUSED" if self.paused else ""
        return [_cut(first, width, color, "bold"), _cut(second, width, color, "")]

    def _titles(self, table: Grid, width: int, color: bool) -> str:
        arrow = "v" if (self.sort in FALLING) != self.reverse else "^"
        line = table.titles()[:width].ljust(width)
        title = next((column.title for column in table.columns if SORT_OF.get(column.title) == self.sort), "")
        if title:
            at = _position(table, title)
            mark = at + len(title) if at + len(title) < width and line[at + len(title)] == " " else at - 1
            if 0 <= mark < width:
                line = f"{line[:mark]}{arrow}{line[mark + 1 :]}"
        return f"{INVERSE}{line}{RESET}" if color else line

    def _foot(self, width: int) -> str:
        if self.typing is not None:
            return f"/{self.typing}_"[-width:]
        return (self.complaint or ("Esc back" if self.detail is not None else HELP))[:width]

    def _type(self, key: str) -> None:
        text = self.typing or ""
        if key == "enter":
            self.typing = None
        elif key == "escape":
            self.typing, self.filter = None, ""
        elif key == "backspace":
            self.typing = self.filter = text[:-1]
        elif len(key) == 1 and key.isprintable():
            self.typing = self.filter = text + key
        self.shown()

    def _command(self, key: str) -> None:
        match key:
            case "q":
                self.done = True
            case "/":
                self.typing = self.filter
            case "<" | ">":
                step = 1 if key == ">" else -1
                self.sort = SORTS[(SORTS.index(self.sort) + step) % len(SORTS)]
            case "Z":
                self.reverse = not self.reverse
            case "R":
                self.rtcp = not self.rtcp
            case "p" | " ":
                self.paused = not self.paused
            case "?" | "h":
                self.helping = True
            case "escape":
                self.filter = ""
            case _ if key in MOVES:
                self._move(MOVES[key])

    def _move(self, pages: float) -> None:
        """Move the bar, by so many pages; 0.0 and below one page: by a flow."""
        rows = self.shown()
        if not rows:
            return
        place = next((number for number, row in enumerate(rows) if row["id"] == self.chosen), 0)
        step = round(pages * self._page) if abs(pages) >= 1 else (1 if pages > 0 else -1)
        self.chosen = rows[max(0, min(len(rows) - 1, place + step))]["id"]

    def _rate(self, row: Row, moment: float) -> float | None:
        """Packets a second since the last figures; before there are any, those of the controller's interval."""
        packets, then = self._counts.get(row["id"], (0, moment))
        if moment > then and row["packets"] >= packets:
            return float(row["packets"] - packets) / (moment - then)
        measured: float | None = row["packets_per_second"]
        return measured


def _shown_rate(row: Mapping[str, Any]) -> str | None:
    rate = row.get("rate")
    return None if rate is None else f"{rate:.0f}"


def detail_lines(found: Mapping[str, Any], width: int) -> list[str]:
    """Return a flow in full: its explanation, then its values in two columns."""
    lines = []
    explained = found.get("explanation")
    if explained:
        lines += [explained["why"], f"{explained['cause'].replace('_', ' ')}: {explained['text']}"]
        lines += [explained["remedy"]] if explained["remedy"] else []
        lines.append("")
    values = [(key, plain(found[key])) for key in DETAILS if key in found]
    half = (len(values) + 1) // 2
    name = max(map(len, DETAILS))
    room = max(10, width // 2 - name - 3)
    for place in range(half):
        pair = values[place : place + 1] + values[place + half : place + half + 1]
        lines.append("  ".join(f"{key:<{name}} {value:<{room}}" for key, value in pair).rstrip())
    return [line[:width] for line in lines]


MOVES = {
    "up": -0.1,
    "k": -0.1,
    "down": 0.1,
    "j": 0.1,
    "pageup": -1,
    "pagedown": 1,
    "home": -1e6,
    "end": 1e6,
}
SORT_OF = {
    "ID": "id",
    "CALL": "call",
    "CODEC": "codec",
    "FROM": "source",
    "PATH": "path",
    "PPS": "rate",
    "PACKETS": "packets",
    "LOSS%": "loss_pct",
    "JITms": "jitter_ms",
    "RTTms": "rtt_ms",
    "MOS": "mos",
}


def _live(title: str) -> Any:
    from dataclasses import replace

    (column,) = (each for each in COLUMNS if each.title == title)
    return replace(column, value=_shown_rate) if title == "PPS" else column


COLUMNS_OF_TOP = tuple(_live(column.title) for column in COLUMNS if column.title != "REJECTED")


def _position(table: Grid, title: str) -> int:
    """Where a title begins in the line of titles."""
    at = 0
    for column, width in zip(table.columns, table.widths, strict=True):
        if column.title == title:
            return at + (width - len(title) if column.right else 0)
        at += width + 2
    return 0


def _row(table: Grid, number: int, chosen: bool, width: int, color: bool) -> str:
    if chosen and color:
        return f"{INVERSE}{table.line(number)[:width].ljust(width)}{RESET}"
    line = table.line(number, color)
    return line if color else line[:width]


def _title(text: str, width: int, color: bool) -> str:
    return _cut(text, width, color, "bold")


def _cut(text: str, width: int, color: bool, style: str) -> str:
    return f"{STYLES[style]}{text[:width]}{RESET}" if color and style else text[:width]
