# SPDX-License-Identifier: GPL-3.0-or-later
"""SIPp in the lab: runs a scenario in a namespace and reads its statistics."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vm.lab import Lab
from vm.process import LabError, Process
from vm.topology import Endpoint

SUCCEEDED = 0
SOME_FAILED = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to. retransmissions: of SIP messages, by SIPp."""

    created: int
    successful: int
    failed: int
    retransmissions: int


class Sipp:
    """One run of SIPp; `arguments` name the scenario, the rate and the number of calls as its manual has them."""

    def __init__(self, lab: Lab, endpoint: Endpoint, name: str, arguments: Sequence[str], port: int = 5060) -> None:
        self._directory = lab.directory / name
        self._directory.mkdir()
        self._statistics = self._directory / "statistics.csv"
        local = ["-i", endpoint.address, "-mi", endpoint.address, "-p", str(port), "-t", "u1"]
        record = ["-trace_stat", "-stf", str(self._statistics), "-fd", "1", "-nostdin"]
        self.process: Process = lab.spawn(endpoint.namespace, "sipp", *local, *record, *arguments, log=f"{name}.log")

    def finish(self, timeout: float) -> Outcome:
        """Wait for the end and return the last statistics; LabError if SIPp itself failed."""
        status = self.process.wait(timeout)
        if status not in (SUCCEEDED, SOME_FAILED) or not self._statistics.exists():
            raise LabError(f"sipp ended with {status}: {self.process.last_line()}")
        return self.outcome()

    def stop(self) -> Outcome:
        """End it, for scenarios that answer calls without end, and return the last statistics."""
        self.process.stop()
        return self.outcome()

    def outcome(self) -> Outcome:
        """The statistics so far."""
        return read(self._statistics)


def read(path: Path) -> Outcome:
    """The last line of a statistics file of `sipp -trace_stat`; its columns are found by name."""
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file, delimiter=";"))
    except FileNotFoundError:
        rows = []
    if not rows:
        raise LabError(f"sipp wrote no statistics to {path}; see its log")
    last = rows[-1]
    return Outcome(
        created=int(last["TotalCallCreated"]),
        successful=int(last["SuccessfulCall(C)"]),
        failed=int(last["FailedCall(C)"]),
        retransmissions=int(last["Retransmissions(C)"]),
    )
