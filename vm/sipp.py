# SPDX-License-Identifier: GPL-3.0-or-later
"""SIPp in the lab: runs a scenario in a namespace and reads its statistics."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vm.lab import Lab
from vm.process import PATIENCE, LabError, Process
from vm.topology import Endpoint

SUCCEEDED = 0
SOME_FAILED = 1
Kind = Literal["udp", "tcp", "tls", "ipv6"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to. retransmissions: of SIP messages, by SIPp."""

    created: int
    successful: int
    failed: int
    retransmissions: int


class Sipp:
    """One run of SIPp; `arguments` name the scenario, the rate and the number of calls as its manual has them.

    kind: udp; tcp or tls, all calls by one connection, of TCP, for a tunnel has to add TLS; or ipv6, by UDP.
    """

    def __init__(
        self, lab: Lab, endpoint: Endpoint, name: str, arguments: Sequence[str], port: int = 5060, kind: Kind = "udp"
    ) -> None:
        self._directory = lab.directory / name
        self._directory.mkdir()
        self._port = port
        self._statistics = self._directory / "statistics.csv"
        address = endpoint.address6 if kind == "ipv6" else endpoint.address
        local = ["-i", address, "-mi", address, "-p", str(port), "-t", "t1" if kind in ("tcp", "tls") else "u1"]
        record = ["-trace_stat", "-stf", str(self._statistics), "-fd", "1", "-nostdin"]
        record += ["-trace_err", "-error_file", str(self._directory / "errors.log")]
        self.process: Process = lab.spawn(endpoint.namespace, "sipp", *local, *record, *arguments, log=f"{name}.log")

    def listening(self) -> Sipp:
        """Wait until it can be called, return itself: what comes before is refused by its host."""
        self.process.wait_for("socket", lambda _: self._bound())
        return self

    def _bound(self) -> bool:
        tables = [Path(f"/proc/{self.process.pid}/net/{name}") for name in ("udp", "udp6", "tcp", "tcp6")]
        rows = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
        return any(row[1].endswith(f":{self._port:04X}") for row in rows)

    def finish(self, timeout: float = 2 * PATIENCE) -> Outcome:
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
