# SPDX-License-Identifier: GPL-3.0-or-later
"""What the demo shows: steps with their seconds, a table that moves while people talk, a summary at the end."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import TextIO

from vm.proof import Evidence, Result

BOLD, DIM, GREEN, RED, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[31m", "\x1b[0m"
LABEL = 12


class Screen:
    """Writes to a terminal with colour and redrawing, to anything else plainly."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()

    def title(self, text: str) -> None:
        """A heading with an empty line before it."""
        self._write(f"\n{self._paint(BOLD, text)}\n")

    def step(self, label: str, text: str, seconds: float | None = None) -> None:
        """One line of the story: what, how it went, and how long it took."""
        took = "" if seconds is None else self._paint(DIM, f"  {seconds:.1f} s")
        self._write(f"  {label:<{LABEL}} {text}{took}\n")

    def live(self, table: Callable[[], str], seconds: float, interval: float = 0.5) -> None:
        """Show a table for some seconds; on a terminal redrawn in place, elsewhere as it is at the end."""
        deadline = time.monotonic() + seconds
        drawn = 0
        while (now := time.monotonic()) < deadline:
            if self._live:
                drawn = self._redraw(table(), drawn)
            time.sleep(min(interval, max(deadline - now, 0.0)))
        self._redraw(table(), drawn)

    def table(self, text: str) -> None:
        """Show a table once."""
        self._redraw(text, 0)

    def summary(self, evidence: Evidence, result: Result, complaints: list[str]) -> None:
        """What was proven, line by line, and the verdict."""
        self.title("What was proven")
        for each in evidence.hearings:
            heard = f"{each.heard.frequency:.0f} Hz for {each.heard.seconds:.1f} s, {each.heard.snr:.0f} dB over noise"
            self._mark(each.ok, "audio", f"{each.listener} hears {heard}")
        share = 100 * result.kernel_packets / max(result.rtp_packets, 1)
        counted = f"{result.kernel_packets} of {result.rtp_packets} RTP packets ({min(share, 100):.2f} %)"
        self._mark(share >= 99.9, "kernel", f"XDP carried {counted}")
        self._mark(not evidence.strangers(), "path", "both phones exchanged media with the relay alone")
        self._mark(not result.rtp_lost, "loss", f"{result.rtp_lost} packets lost by the relay, SIGKILL included")
        answered = f"{result.answered} of {result.calls} calls answered and ended by a phone"
        self._mark(result.answered == result.calls, "calls", answered)
        self._mark(result.cdrs == result.calls, "records", f"{result.cdrs} call records in PostgreSQL")
        verdict = self._paint(RED, "FAILED") if complaints else self._paint(GREEN, "All of it works")
        self._write(f"\n{verdict}, in {result.seconds:.1f} s.\n")

    def _mark(self, good: bool, label: str, text: str) -> None:
        mark = self._paint(GREEN, "ok  ") if good else self._paint(RED, "FAIL")
        self._write(f"  {mark} {label:<{LABEL - 5}} {text}\n")

    def _redraw(self, table: str, drawn: int) -> int:
        """Write the table over the `drawn` lines written before; returns how many lines it has."""
        lines = table.rstrip("\n").splitlines()
        if not self._live:
            self._write("".join(f"  {line}\n" for line in lines))
            return 0
        width = shutil.get_terminal_size().columns - 3
        back = f"\x1b[{drawn}A" if drawn else ""
        self._write(back + "\x1b[J" + "".join(f"  {line[:width]}\n" for line in lines))
        return len(lines)

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{PLAIN}" if self._live else text

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
