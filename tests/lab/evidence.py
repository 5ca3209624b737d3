# SPDX-License-Identifier: GPL-3.0-or-later
"""What is reported with a failed test of the lab: how busy the host was, and what each program of its labs said."""

from __future__ import annotations

import os
import re

from vm.lab import Lab

LINES, FIRST = 40, 10
"""Of each text, and how many of them are its first: SIPp tells there what began it all."""
WIDTH = 400
CONTROLLER = "voxdp.log"
EVENT = re.compile(r"\d{4}-\d\d-\d\d\S* \[(\w+) *\] ")
"""How an event begins in the controller's log, with its level; further lines of it, as a traceback, do not begin so."""
GRAVE = ("warning", "error", "critical")


def forget() -> None:
    """What has ended before a test is none of its."""
    Lab.made[:] = [lab for lab in Lab.made if not lab.ended]


def sections() -> list[tuple[str, str]]:
    """Headings and texts: what went wrong by the controller's log, then all that was written, shortened."""
    found = [("load average", " ".join(f"{load:.1f}" for load in os.getloadavg()))]
    for lab in Lab.made:
        logs = lab.logs()
        found += [(f"{lab.name}: warnings and errors of {CONTROLLER}", bounded(grave(logs.get(CONTROLLER, ""))))]
        found += [(f"{lab.name}: {name}", bounded(text.splitlines())) for name, text in sorted(logs.items())]
    return [(heading, text) for heading, text in found if text]


def grave(text: str) -> list[str]:
    """The lines of a controller's log that say what someone should look at."""
    chosen, keep = [], False
    for line in text.splitlines():
        if event := EVENT.match(line):
            keep = event[1] in GRAVE
        if keep:
            chosen.append(line)
    return chosen


def bounded(lines: list[str]) -> str:
    told = [line for line in lines if line.strip()]
    if len(told) > LINES:
        told = [*told[:FIRST], "...", *told[FIRST + 1 - LINES :]]
    return "\n".join(line if len(line) <= WIDTH else f"{line[:WIDTH]}..." for line in told)
