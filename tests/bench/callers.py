# SPDX-License-Identifier: GPL-3.0-or-later
"""SIPp as the caller of a lab, who proves its password, toward whatever carries its calls to the callee."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vm.lab import Lab
from vm.sipp import Outcome, Sipp

SCENARIO = Path(__file__).with_name("caller.xml")
USER, PASSWORD = "alice", "secret-of-alice"
"""As the scenario has them."""


@dataclass(slots=True)
class Callers:
    """A caller and a callee, and between them whatever the lab's relay runs."""

    lab: Lab
    runs: int = field(default=0, init=False)

    def run(self, calls: int, rate: int, talk: int) -> Outcome:
        """Place so many calls that talk for so many milliseconds; until the last has ended."""
        return self.begin(calls, rate, talk).finish(60.0 + calls / rate)

    def begin(self, calls: int, rate: int, talk: int, *more: str, port: int = 5060) -> Sipp:
        """The same, not waited for."""
        self.runs += 1
        relay = f"{self.lab.a.relay}:5060"
        limits = ["-r", str(rate), "-m", str(calls), "-l", "50000", "-d", str(talk)]
        target = ["-s", "0301", "-auth_uri", f"0301@{relay}", *more, relay]
        return Sipp(self.lab, self.lab.a, f"caller{self.runs}", ["-sf", str(SCENARIO), *limits, *target], port)
