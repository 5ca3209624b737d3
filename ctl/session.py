# SPDX-License-Identifier: GPL-3.0-or-later
"""What every command has at hand: the global options, the way to the controller, the way to the screen."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from ctl.client import ask_raw
from ctl.configfile import run_directory
from ctl.table import Column, counted, plain, render

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(slots=True)
class Session:
    """The options before the object's name."""

    path: Path | None
    as_json: bool
    header: bool
    timeout: float

    def ask(self, verb: str, **arguments: Any) -> Any:
        """Return the controller's answer as Python values. Raises CommandError."""
        return json.loads(self._raw(verb, arguments))

    def show(self, verb: str, columns: Sequence[Column], noun: str, **arguments: Any) -> None:
        """Print the controller's answer, a list of objects, as a table or as JSON.

        noun: one of them is called so; on a terminal the last line says how many there are.
        """
        raw = self._raw(verb, arguments)
        if self.as_json:
            self._print_json(raw)
            return
        rows = json.loads(raw)
        self.table(rows, columns)
        if sys.stdout.isatty():
            click.echo(counted(len(rows), noun))

    def table(self, rows: Sequence[Any], columns: Sequence[Column]) -> None:
        """Print objects as lines: aligned on a terminal, whole and tab-free everywhere."""
        sys.stdout.write(render(rows, columns, header=self.header, human=sys.stdout.isatty()))

    def document(self, value: Any) -> None:
        """Print one object: as JSON, or as lines `key  value`."""
        if self.as_json:
            self._print_json(json.dumps(value).encode())
            return
        width = max(map(len, value), default=0)
        for key, each in value.items():
            click.echo(f"{key:<{width}}  {plain(each)}")

    def _raw(self, verb: str, arguments: dict[str, Any]) -> bytes:
        return ask_raw(run_directory(self.path), verb, arguments, self.timeout)

    @staticmethod
    def _print_json(raw: bytes) -> None:
        sys.stdout.flush()
        sys.stdout.buffer.write(raw + b"\n")
        sys.stdout.buffer.flush()


def json_option(command: Command) -> Command:
    """Let -j stand behind the verb as well, where people type it."""

    def remember(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
        if value:
            ctx.obj.as_json = True

    option = click.option(
        "-j", "--json", is_flag=True, expose_value=False, callback=remember, help="Print one JSON document"
    )
    return option(command)
