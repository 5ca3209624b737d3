# SPDX-License-Identifier: GPL-3.0-or-later
"""Live state on local disk, so that a killed controller comes back knowing its calls and registrations.

A log of JSON lines, `[kind, key, state]`, the last line for a key being the truth and a null state its end.
Writes go to the page cache, which a SIGKILL does not take away; once a second, off the event loop, they are
brought to the disk, so that a power cut costs one second of them. A boot ends every call and leaves registrations,
whose phones know nothing of it. There is no fsync in the path of a call. Call records, none of which may be lost,
have a journal of their own in `provisioning.cdr`. What is kept in memory is where each line is, not the line.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii
from pathlib import Path
from typing import Any

import structlog
from pydantic_core import to_json

log = structlog.get_logger()

State = Mapping[str, Any] | Sequence[Any]
Key = tuple[str, str]

COMPACT_AT = 1 << 20
SYNC_SECONDS = 1.0
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_LENGTH_BITS = 32


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
    _places: dict[str, dict[str, int]] = field(default_factory=dict)
    """By kind and key, where the line that holds is in the file: offset and length in one number."""
    _file: int = -1
    _size: int = 0
    _live: int = 0
    _unsynced: bool = False
    _compact_at: int = COMPACT_AT

    @classmethod
    def open(cls, path: Path, offset: float) -> tuple[Journal, Recovered]:
        """Read what is there and start a compacted log in its place. `offset`: wall less monotonic clock.

        Raises OSError when the folder cannot be written.
        """
        recovered = read(path)
        journal = cls(path, offset)
        journal._replace((key, line_of(key, encode(state))) for key, state in recovered.states.items())
        return journal, recovered

    def put(self, kind: str, key: str, state: State) -> None:
        """Remember `state`, which JSON must be able to carry. Raises OSError on a full disk."""
        self.put_text(kind, key, encode(state))

    def put_text(self, kind: str, key: str, text: str) -> None:
        """`put` of what `encode` has made, or what looks the same."""
        line = line_of((kind, key), text)
        place = self._append(line)
        places = self._places.setdefault(kind, {})
        self._live += len(line) - _length(places.get(key, 0))
        places[key] = place
        self._compact()

    def remove(self, kind: str, key: str) -> None:
        """Forget what is kept under `key`, if anything."""
        place = self._places.get(kind, {}).pop(key, None)
        if place is not None:
            self._live -= _length(place)
            self._append(line_of((kind, key), "null"))
            self._compact()

    @property
    def synced(self) -> bool:
        """Whether nothing was put since it was brought to the disk."""
        return not self._unsynced

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

    def _append(self, line: bytes) -> int:
        """Write a line and return its place. Raises OSError, and then nothing has been written."""
        at = self._size
        try:
            self._size += _write(self._file, line)
        except OSError:
            os.ftruncate(self._file, at)  # a torn line would hide the next one
            raise
        self._unsynced = True
        return at << _LENGTH_BITS | len(line)

    def _compact(self) -> None:
        """Write the live lines anew, where most are none. If that fails, all is still in the former log."""
        if self._size <= self._compact_at or self._size <= 4 * self._live:
            return
        try:
            with mmap.mmap(self._file, self._size, prot=mmap.PROT_READ) as former:
                self._replace(
                    ((kind, key), former[(at := place >> _LENGTH_BITS) : at + _length(place)])
                    for kind, places in self._places.items()
                    for key, place in places.items()
                )
        except OSError as error:
            self._compact_at = 2 * self._size
            log.error("live state not compacted; free space on its disk", path=str(self.path), error=error.strerror)

    def _replace(self, lines: Iterable[tuple[Key, bytes]]) -> None:
        """Begin a log with these lines only. Raises OSError and leaves the former one, as a kill in between does."""
        written = [line_of(("boot", BOOT_ID.read_text().strip()), encode({"offset": self.offset}))]
        size = len(written[0])
        places: dict[str, dict[str, int]] = {}
        for (kind, key), line in lines:
            places.setdefault(kind, {})[key] = size << _LENGTH_BITS | len(line)
            written.append(line)
            size += len(line)
        fresh = self.path.with_suffix(".new")
        file = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            _write(file, b"".join(written))
            os.fdatasync(file)
            fresh.replace(self.path)
        except OSError:
            os.close(file)
            raise
        self.close()
        self._file, self._places = file, places
        self._size, self._live, self._compact_at = size, size - len(written[0]), COMPACT_AT


def encode(state: object) -> str:
    """State as JSON in ASCII. The quicker encoder takes no text of bytes that are none, as some peers write it."""
    try:
        return to_json(state, ensure_ascii=True).decode("ascii")
    except ValueError:
        return _encode(state)


async def keep_synced(journal: Journal) -> None:
    """Bring the journal to the disk each second, by a thread, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(SYNC_SECONDS)
        if journal.synced:
            continue
        try:
            await loop.run_in_executor(None, journal.sync)
        except OSError as error:
            log.error("live state not on disk; look at its disk", path=str(journal.path), error=error.strerror)


def _length(place: int) -> int:
    return place & (1 << _LENGTH_BITS) - 1


def _write(file: int, data: bytes) -> int:
    """Write all of `data`; how many bytes. A short write is completed or raised."""
    done = os.write(file, data)
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
