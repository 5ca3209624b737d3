# SPDX-License-Identifier: GPL-3.0-or-later
"""Deals what an earlier controller left out among the processes of this one, who may be more or fewer.

Runs before anything is opened. Journals are only added to, so that a kill in between costs nothing: a call is
taken from one only when it stands in the other.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ctl.config import Config
from ctl.journal import Recovered, encode, line_of, read
from ctl.seat import Seat, ServiceError, take_lock
from ctl.sessions.call_media import CallMedia
from ctl.signalling.conductor import CALL
from provisioning.segment import sync_directory
from sip.steering import slot_of

LIVE, RECORDS = "live", "cdr"
PATIENCE = 5.0
"""Seconds that workers of a controller that was killed are given to notice."""


@dataclass(frozen=True, slots=True)
class Dealt:
    """calls: how many live. held: the worker that has each pair of ports, by address and RTP port."""

    calls: int = 0
    held: Mapping[tuple[str, int], int] = field(default_factory=dict)


def deal(state: Path, run: Path, workers: int) -> Dealt:
    """Give each call of this boot to its worker, or with one worker to the controller; and all else to the controller.

    state, run: the controller's directories of journals and sockets. Raises ServiceError or OSError.
    """
    places = {path.name: path for path in sorted(state.glob("worker-*"))}
    if workers == 1 and not places:
        return Dealt()
    for name in places:
        _await_end(run / name / "run.lock")
    names = [f"worker-{number + 1}" for number in range(workers)] if workers > 1 else [""]
    journals = {name: read(path / LIVE) for name, path in {"": state, **places}.items()}
    held: dict[tuple[str, int], int] = {}
    found = set()
    for name, recovered in journals.items():
        for call, each in recovered.of(CALL).items():
            number = _slot(each) % workers
            wanted = names[number] if recovered.same_boot else name if name in names else ""
            if wanted != name:
                there = journals.get(wanted)
                known = there is not None and (CALL, call) in there.states
                _move(call, each, state / name / LIVE, state / wanted / LIVE, recovered, known)
            if recovered.same_boot:
                found.add(call)
                held.update(dict.fromkeys(_ports(each), number))
    for name, path in places.items():
        if name not in names:
            _take_records(path / RECORDS, state / RECORDS)
    return Dealt(len(found), held)


def take_back(config: Config) -> None:
    """Have the one process of this controller go on with what workers of an earlier one had. Raises as `deal` does."""
    if config.run.state.exists():
        with Seat.of(config).take():
            deal(config.run.state, config.run.directory, 1)


def _await_end(lock: Path) -> None:
    """Wait until the worker that has this lock is no more."""
    deadline = time.monotonic() + PATIENCE
    while lock.exists():
        try:
            take_lock(lock).close()
        except ServiceError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _slot(state: Mapping[str, Any]) -> int:
    return slot_of(str(state["call"]["a"]["call_id"]).encode("utf-8", "surrogateescape"))


def _ports(state: Mapping[str, Any]) -> frozenset[tuple[str, int]]:
    return CallMedia.from_json(state["media"]).taken() if state["media"] else frozenset()


def _move(call: str, each: Any, source: Path, target: Path, recovered: Recovered, known: bool) -> None:
    """known: whether it is in the other journal already, since an earlier deal was cut off."""
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if not target.exists():
        target.write_bytes(line_of(("boot", recovered.boot), encode({"offset": recovered.saved})))
        target.chmod(0o600)
    if not known:
        _add(target, line_of((CALL, call), encode(each)))
    _add(source, line_of((CALL, call), "null"))


def _add(journal: Path, line: bytes) -> None:
    """Add one line, after a line feed that ends whatever a kill has torn."""
    with journal.open("ab") as file:
        file.write(b"\n" + line)


def _take_records(source: Path, target: Path) -> None:
    """Have the controller hand on the call records of a worker that is no more."""
    target.mkdir(mode=0o750, parents=True, exist_ok=True)
    last = max((int(path.stem.partition("-")[2]) for path in target.glob("cdr-*.journal")), default=0)
    for number, path in enumerate(sorted(source.glob("cdr-*.journal")), last + 1):
        path.rename(target / f"cdr-{number:012}.journal")
    sync_directory(target)
