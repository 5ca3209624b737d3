# SPDX-License-Identifier: GPL-3.0-or-later
"""Live state on local disk, so that a killed controller comes back knowing its calls and registrations.

A log of JSON lines, `[kind, key, state]`, the last line for a key being the truth and a null state its end.
Writes go to the page cache, which a SIGKILL does not take away; once a second, off the event loop, they are
brought to the disk, so that a power cut costs one second of them. A boot ends every call and leaves registrations,
whose phones know nothing of it. There is no fsync in the path of a call. Call records, none of which may be lost,
have a journal of their own in `provisioning.cdr`.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii
from pathlib import Path
from typing import Any

import structlog

log = structlog.get_logger()

State = Mapping[str, Any] | Sequence[Any]
Key = tuple[str, str]

COMPACT_AT = 1 << 20
SYNC_SECONDS = 1.0
encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Recovered:
    """What an earlier process left.

    same_boot: whether its monotonic times still mean something. saved: wall clock less monotonic clock, in
    seconds, as that process saw it. torn: lines that could not be read, at most the last after a kill. boot: which one
    it was.
    """

    states: Mapping[Key, Any]
    same_boot: bool
    saved: float
    torn: int
    boot: str = ""

    def of(self, kind: str) -> dict[str, Any]:
        """Return {key: state} of one kind, oldest first."""
        return {key: state for (each, key), state in self.states.items() if each == kind}


@dataclass(slots=True)
class Journal:
    """The open log. Make it with `Journal.open`."""

    path: Path
    offset: float
    _lines: dict[Key, bytes] = field(default_factory=dict)
    _file: int = -1
    _size: int = 0
    _live: int = 0
    _unsynced: bool = False

    @classmethod
    def open(cls, path: Path, offset: float) -> tuple[Journal, Recovered]:
        """Read what is there and start a compacted log in its place. `offset`: wall less monotonic clock.

        Raises OSError when the folder cannot be written.
        """
        recovered = read(path)
        journal = cls(path, offset)
        journal._lines = {key: line_of(key, encode(state)) for key, state in recovered.states.items()}
        journal._live = sum(map(len, journal._lines.values()))
        journal._rewrite()
        return journal, recovered

    def put(self, kind: str, key: str, state: State) -> None:
        """Remember `state`, which JSON must be able to carry. Raises OSError on a full disk."""
        self.put_text(kind, key, encode(state))

    def put_text(self, kind: str, key: str, text: str) -> None:
        """`put` of what `encode` has made, or what looks the same."""
        line = line_of((kind, key), text)
        self._live += len(line) - len(self._lines.get((kind, key), b""))
        self._lines[kind, key] = line
        self._append(line)

    def remove(self, kind: str, key: str) -> None:
        """Forget what is kept under `key`, if anything."""
        line = self._lines.pop((kind, key), None)
        if line is not None:
            self._live -= len(line)
            self._append(line_of((kind, key), "null"))

    def sync(self) -> None:
        """Bring what was put to the disk. May be called from another thread: it works on a descriptor of its own."""
        if self._file < 0 or not self._unsynced:
            return
        self._unsynced = False
        duplicate = os.dup(self._file)
        try:
            os.fdatasync(duplicate)
        finally:
            os.close(duplicate)

    def close(self) -> None:
        """Close the file; what was put stays."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _append(self, line: bytes) -> None:
        self._size += _write(self._file, line)
        self._unsynced = True
        if self._size > COMPACT_AT and self._size > 4 * self._live:
            self._rewrite()

    def _rewrite(self) -> None:
        """Replace the log by one with the live lines only; a kill in between leaves the former one whole."""
        self.close()
        fresh = self.path.with_suffix(".new")
        self._file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        header = line_of(("boot", BOOT_ID.read_text().strip()), encode({"offset": self.offset}))
        self._size = _write(self._file, header + b"".join(self._lines.values()))
        os.fdatasync(self._file)
        fresh.replace(self.path)


async def keep_synced(journal: Journal) -> None:
    """Bring the journal to the disk each second, by a thread, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(SYNC_SECONDS)
        try:
            await loop.run_in_executor(None, journal.sync)
        except OSError as error:
            log.error("live state not on disk; look at its disk", path=str(journal.path), error=error.strerror)


def _write(file: int, data: bytes) -> int:
    """Write all of `data`. A torn line would hide the next one, so a short write is completed or raised."""
    done = 0
    while done < len(data):
        done += os.write(file, data[done:])
    return done


def line_of(key: Key, text: str) -> bytes:
    """Return a line of a journal: text is the state as `encode` has made it, null its end."""
    kind, name = map(encode_basestring_ascii, key)
    return f"[{kind},{name},{text}]\n".encode("ascii")


def read(path: Path) -> Recovered:
    """Return what a journal holds; nothing where there is none."""
    states: dict[Key, Any] = {}
    boot, saved, torn = "", 0.0, 0
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        if not line:
            continue
        try:
            kind, key, state = json.loads(line)
        except ValueError:
            torn += 1
            continue
        if kind == "boot":
            boot, saved = key, state["offset"]
        elif state is None:
            states.pop((kind, key), None)
        else:
            states[kind, key] = state
    return Recovered(states, boot == BOOT_ID.read_text().strip(), saved, torn, boot)
