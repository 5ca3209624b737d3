# SPDX-License-Identifier: GPL-3.0-or-later
"""Flows, live, on the whole screen."""

from __future__ import annotations

import os
import select
import shutil
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from ctl.exits import NOT_FOUND, USAGE
from ctl.terminal.client import CommandError
from ctl.terminal.session import Session
from ctl.terminal.top import SORTS, Top

ENTER_SCREEN, LEAVE_SCREEN = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
HOME, REST_OF_LINE = "\x1b[H", "\x1b[K"
SHARE = 0.1
"""Of its time, at most, that the controller is asked to spend on us."""

SEQUENCES = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1b[C": "enter",
    "\x1b[D": "left",
    "\x1bOA": "up",
    "\x1bOB": "down",
    "\x1bOC": "enter",
    "\x1bOD": "left",
    "\x1b[5~": "pageup",
    "\x1b[6~": "pagedown",
    "\x1b[H": "home",
    "\x1b[F": "end",
    "\x1b[1~": "home",
    "\x1b[4~": "end",
    "\x1b": "escape",
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\x08": "backspace",
}

PREFIXES = {sequence[:length] for sequence in SEQUENCES for length in range(1, len(sequence))}
SEQUENCE_SECONDS = 0.05


@click.command()
@click.option("-w", "--watch", "interval", type=click.FloatRange(min=0.2), default=1.0, help="Seconds between figures")
@click.option("-n", "--count", type=click.IntRange(min=1), help="End after so many figures")
@click.option("-f", "--filter", "terms", default="", metavar="TERMS", help="Only flows with, e.g., 'mos<3.5'")
@click.option("--sort", type=click.Choice(SORTS), default="mos", show_default=True, help="The column to begin with")
@click.pass_obj
def top(session: Session, interval: float, count: int | None, terms: str, sort: str) -> None:
    """Show the flows live, the worst first; the keys are those of top, ? lists them."""
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        raise CommandError("top needs a terminal; in a pipe use: voxdp flow watch", USAGE)
    state = Top(sort=sort, filter=terms or session.filter)
    _take(session, state)
    with _screen():
        _run(session, state, interval, count)


def _run(session: Session, state: Top, interval: float, count: int | None) -> None:
    shown, due = 1, time.monotonic() + interval
    while not state.done:
        _draw(state, session.color)
        for key in _keys(max(0.0, due - time.monotonic())):
            opening = key == "enter" and state.detail is None and state.typing is None and not state.helping
            if opening:
                _open(session, state)
            else:
                state.key(key)
        if time.monotonic() >= due:
            if count is not None and shown >= count:
                return
            spent = _fetch(session, state)
            shown, due = shown + 1, time.monotonic() + max(interval, spent / SHARE)


def _fetch(session: Session, state: Top) -> float:
    """Take fresh figures; return how long that took."""
    began = time.monotonic()
    try:
        _take(session, state)
        if state.detail is not None:
            _refresh_detail(session, state)
    except CommandError as error:
        state.trouble = str(error)
    return time.monotonic() - began


def _take(session: Session, state: Top) -> None:
    flows = session.ask("flow.list")
    state.feed(flows, time.monotonic(), time.strftime("%H:%M:%S"))


def _open(session: Session, state: Top) -> None:
    row = state.selected()
    if row:
        state.detail = {"id": row["id"]}
        state.chosen = row["id"]
        _refresh_detail(session, state)


def _refresh_detail(session: Session, state: Top) -> None:
    assert state.detail is not None
    if state.paused and len(state.detail) > 1:
        return
    identifier = state.detail["id"]
    try:
        flow = session.ask("flow.show", id=identifier)
        (explained,) = session.ask("flow.explain", id=identifier)
    except CommandError as error:
        if error.code == NOT_FOUND:
            state.detail = None
        else:
            state.trouble = str(error)
        return
    state.detail = {**flow, "explanation": explained}


def _draw(state: Top, color: bool) -> None:
    columns, lines = shutil.get_terminal_size()
    frame = state.frame(columns, lines, color)
    sys.stdout.write(HOME + f"{REST_OF_LINE}\r\n".join(frame) + REST_OF_LINE)
    sys.stdout.flush()


def _keys(seconds: float) -> Iterator[str]:
    """Yield what was typed, waiting for the first key at most so long."""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    typed = _read() if ready else ""
    if ready and not typed:
        raise click.Abort  # the terminal is gone
    while typed:
        if typed in PREFIXES and select.select([sys.stdin], [], [], SEQUENCE_SECONDS)[0]:
            typed += _read()  # the rest of a key that a slow line has cut
        known = max((each for each in SEQUENCES if typed.startswith(each)), key=len, default="")
        yield SEQUENCES[known] if known else typed[0]
        typed = typed[len(known) or 1 :]


def _read() -> str:
    return os.read(sys.stdin.fileno(), 1024).decode(errors="replace")


@contextmanager
def _screen() -> Iterator[None]:
    """The whole screen and every key, until the end; then the terminal is as it was."""
    settings: Any = termios.tcgetattr(sys.stdin)
    sys.stdout.write(ENTER_SCREEN)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, settings)
        sys.stdout.write(LEAVE_SCREEN)
        sys.stdout.flush()
