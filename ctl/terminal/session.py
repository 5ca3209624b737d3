# SPDX-License-Identifier: GPL-3.0-or-later
"""What every command has at hand: the global options, the way to the controller, the way to the screen."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from ctl.configfile import run_directory
from ctl.exits import USAGE
from ctl.terminal.client import CommandError, ask_raw
from ctl.terminal.table import Column, counted, grid, plain, render

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(slots=True)
class Session:
    """The options before the object's name. filter, sort: of lists, see `filters`. wide: leave no column out."""

    path: Path | None
    as_json: bool
    header: bool
    timeout: float
    filter: str = ""
    sort: str = ""
    wide: bool = False

    @property
    def color(self) -> bool:
        """Whether to colour what is printed: on a terminal that can, unless NO_COLOR says no."""
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def ask(self, verb: str, **arguments: Any) -> Any:
        """Return the controller's answer as Python values. Raises CommandError."""
        return json.loads(self._raw(verb, arguments))

    def show(
        self,
        verb: str,
        columns: Sequence[Column],
        noun: str,
        aliases: Mapping[str, str] | None = None,
        **arguments: Any,
    ) -> None:
        """Print the controller's answer, a list of objects, as a table or as JSON.

        noun: one of them is called so; on a terminal the last line says how many there are. aliases: short names of
        keys, for filters.
        """
        raw = self._raw(verb, arguments)
        if self.as_json and not self.filter and not self.sort:
            self._print_json(raw)
            return
        rows = self.chosen(json.loads(raw), aliases)
        if self.as_json:
            self.document(rows)
            return
        hidden = self.table(rows, columns)
        if sys.stdout.isatty():
            more = f" ({counted(hidden, 'column')} more: -o wide)" if hidden and rows else ""
            click.echo(f"{counted(len(rows), noun)}{more}")

    def chosen(self, rows: list[Any], aliases: Mapping[str, str] | None = None) -> list[Any]:
        """Return the rows that the filter keeps, in the order asked for. Raises CommandError."""
        if not self.filter and not self.sort:
            return rows
        from ctl.terminal.filters import FilterError, compile_filter, order

        try:
            kept = compile_filter(self.filter, aliases)(rows)
            return order(kept, self.sort, aliases) if self.sort else kept
        except FilterError as error:
            raise CommandError(str(error), USAGE) from None

    def table(self, rows: Sequence[Any], columns: Sequence[Column]) -> int:
        """Print objects as lines; return how many columns a narrow terminal has no room for."""
        human = sys.stdout.isatty() and not self.wide
        width = shutil.get_terminal_size().columns if human else 0
        sys.stdout.write(render(rows, columns, header=self.header, human=human, width=width, color=self.color))
        return grid(rows, columns, human=human, width=width).hidden if width else 0

    def document(self, value: Any) -> None:
        """Print one object: as JSON, or as lines `key  value`."""
        if self.as_json:
            self._print_json(json.dumps(value).encode())
            return
        width = max(map(len, value), default=0)
        for key, each in value.items():
            click.echo(f"{key:<{width}}  {plain(each)}")

    def document_and_table(self, value: dict[str, Any], part: str, columns: Sequence[Column]) -> None:
        """Print one object: as JSON, or its list `part` as a table, where there is anything in it, below the rest."""
        if self.as_json:
            self.document(value)
            return
        rows = value.pop(part)
        self.document(value)
        if rows:
            click.echo()
            self.table(rows, columns)

    def _raw(self, verb: str, arguments: dict[str, Any]) -> bytes:
        return ask_raw(run_directory(self.path), verb, arguments, self.timeout)

    @staticmethod
    def _print_json(raw: bytes) -> None:
        sys.stdout.flush()
        sys.stdout.buffer.write(raw + b"\n")
        sys.stdout.buffer.flush()


def json_option(command: Command) -> Command:
    """Let -j stand behind the verb as well, where people type it."""
    return _option("as_json", True, "-j", "--json", is_flag=True, help="Print one JSON document")(command)


def list_options(command: Command) -> Command:
    """Give a list what every list has: -j, -f, --sort, -o wide, --no-header."""
    wide = click.Choice(["wide"])
    for option in (
        _option("header", False, "--no-header", is_flag=True, help="Leave the titles out"),
        _option("wide", True, "-o", "--output", type=wide, help="Every column, however narrow the terminal"),
        _option("sort", None, "--sort", metavar="KEY", help="Order by this key; falling: -KEY"),
        _option("filter", None, "-f", "--filter", metavar="TERMS", help="Only those with, e.g., 'codec=PCMU,mos<3.5'"),
    ):
        command = option(command)
    return json_option(command)


def _option(name: str, constant: bool | None, *declarations: str, **settings: Any) -> Callable[[Command], Command]:
    """Make an option that, if given, is kept in the session under `name`: `constant`, or what was given."""

    def remember(ctx: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value:
            setattr(ctx.obj, name, value if constant is None else constant)

    return click.option(*declarations, expose_value=False, callback=remember, **settings)
