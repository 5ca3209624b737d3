# SPDX-License-Identifier: GPL-3.0-or-later
"""One file of the journal: lines of `LENGTH CRC RECORD`, both numbers in hex, the CRC-32 being the record's.

Text, so that a person can read it when all else fails; lines, so that one damaged record does not take those
behind it along.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

HEAD = len("00000000 00000000 ")


@dataclass(frozen=True, slots=True)
class Piece:
    """What was read from a segment: the sound records, where they end, and what was not sound."""

    records: list[bytes]
    end: int
    """Offset of what has not been read yet."""
    damaged: int
    """Whole lines with a wrong length or CRC; passed over."""


class SegmentWriter:
    """A new file that lines are added to. Every method may raise OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        """Bytes that are surely on disk."""
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        sync_directory(path.parent)

    def store(self, lines: bytes) -> None:
        """Add lines; they are on disk when this returns, and not part of the file when it raises."""
        try:
            view = memoryview(lines)
            while view:
                view = view[os.write(self._file, view) :]
            os.fdatasync(self._file)
        except OSError:
            os.ftruncate(self._file, self.size)
            raise
        self.size += len(lines)

    def close(self) -> None:
        """Close the file, which stays."""
        os.close(self._file)


def frame(record: bytes) -> bytes:
    """Return the line of a record, which must not hold an end of line itself."""
    return b"%08x %08x %s\n" % (len(record), zlib.crc32(record), record)


def read_piece(path: Path, offset: int, limit: int, size: int) -> Piece:
    """Read whole lines from `offset`, about `limit` bytes but at least one line, and nothing beyond `size`."""
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(min(limit, size - offset))
        if b"\n" not in data:
            data += file.read(size - offset - len(data))
    whole = data[: data.rfind(b"\n") + 1]
    lines = whole.split(b"\n")[:-1]
    records = [record for record in map(unframe, lines) if record is not None]
    return Piece(records, offset + len(whole), len(lines) - len(records))


def unframe(line: bytes) -> bytes | None:
    """Return the record of a line without its end, None if it is damaged."""
    record = line[HEAD:]
    return record if frame(record)[:-1] == line else None


def sync_directory(directory: Path) -> None:
    """Put the names of new, renamed and removed files on disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_line(path: Path, record: bytes) -> None:
    """Add a bare record to a file for people, and have it on disk."""
    with path.open("ab") as file:
        file.write(record + b"\n")
        file.flush()
        os.fsync(file.fileno())


def join(records: Iterable[bytes]) -> bytes:
    """Return the lines of several records."""
    return b"".join(map(frame, records))
