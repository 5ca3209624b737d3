# SPDX-License-Identifier: GPL-3.0-or-later
"""Call records on local disk until PostgreSQL has them, so that neither its absence nor a crash of ours loses one.

A record is acknowledged, by the return of `append`, only after fdatasync; the records that wait meanwhile share the
next one. Files are never added to by a later process, so only the end of each can be torn.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, TypeVar

from provisioning.cdr import Cdr, encode
from provisioning.errors import JournalError, JournalFull
from provisioning.segment import SegmentWriter, append_line, join, read_piece, sync_directory

SEGMENT_BYTES = 1 << 20
JOURNAL_BYTES = 256 << 20
READ_BYTES = 32 << 10  # some dozen records: the event loop is held up for milliseconds only
WAITING = 10_000

log = logging.getLogger(__name__)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Batch:
    """Records to be put into the database, and the place in the journal where they end."""

    records: list[bytes]
    number: int
    end: int


@dataclass(slots=True)
class JournalCounts:
    """What happened since the journal was opened."""

    appended: int = 0
    refused: int = 0
    """Records that were not acknowledged: journal or disk full, or the disk failed."""
    torn: int = 0
    """Files whose last record was incomplete: it was being written when the process died."""
    damaged: int = 0
    """Records that were complete and are not sound any more; their file is kept as *.damaged."""


class CdrJournal:
    """The journal in one directory, for one process at a time: `async with`, or open() and close()."""

    def __init__(
        self, directory: Path, *, limit: int = JOURNAL_BYTES, segment_bytes: int = SEGMENT_BYTES, gather: float = 0.0
    ) -> None:
        """gather: seconds between two writes to the disk, so that the records of a busy moment share one."""
        self.directory = directory
        self._gather = gather
        self.counts = JournalCounts()
        self._limit = limit
        self._segment_bytes = segment_bytes
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._work = asyncio.Event()
        self._stored = asyncio.Event()
        self._released = asyncio.Event()
        self._disk = ThreadPoolExecutor(1, "cdr journal")  # all file access, one after the other
        self._flusher: asyncio.Task[None] | None = None
        self._active: SegmentWriter | None = None
        self._sizes: dict[int, int] = {}
        """Bytes of each file, by its number, oldest first; of the active one only what is on disk."""
        self._offset = 0
        """How much of the oldest file the database has."""
        self._damaged_here = 0
        self._lock: IO[str] | None = None
        self._closing = False

    async def __aenter__(self) -> CdrJournal:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def waiting_bytes(self) -> int:
        """Bytes on disk that the database does not have yet."""
        return sum(self._sizes.values()) - self._offset

    async def open(self) -> None:
        """Find what an earlier process left. Raises JournalError."""
        try:
            await self._on_disk(self._find)
        except JournalError:
            await self.close()
            raise
        self._flusher = asyncio.create_task(self._flush(), name="cdr journal")

    async def close(self) -> None:
        """Put on disk what waits, and leave the files to the next process."""
        self._closing = True
        if self._flusher:
            while self._waiting and not self._flusher.done():
                self._work.set()
                await asyncio.wait([self._waiting[-1][1]])
            self._flusher.cancel()
            await asyncio.gather(self._flusher, return_exceptions=True)
            self._flusher = None
        await self._on_disk(self._leave)
        self._disk.shutdown()

    async def append(self, cdr: Cdr) -> None:
        """Return when the record is on disk. Raises JournalFull or JournalError: then it is not acknowledged."""
        await self.put(cdr)

    def put(self, cdr: Cdr) -> asyncio.Future[None]:
        """Return what is done when the record is on disk, and fails with JournalError where it never will be.

        Raises JournalFull.
        """
        if len(self._waiting) >= WAITING:
            self.counts.refused += 1
            raise JournalFull(f"{WAITING} call records wait for the disk of {self.directory}: is it stalled?")
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((encode(cdr), stored))
        self._work.set()
        return stored

    async def next_batch(self) -> Batch:
        """Wait for records that the database does not have, and return some, oldest first."""
        while True:
            self._stored.clear()
            batch = await self._on_disk(self._read)
            if batch:
                return batch
            self._released.set()
            await self._stored.wait()

    async def release(self, batch: Batch) -> None:
        """The database has these records: forget them. Batches are released in the order they were given."""
        await self._on_disk(partial(self._forget, batch))
        self._released.set()

    async def drained(self, limit: float) -> bool:
        """Wait until the database has every record; return False if it has not within `limit` seconds."""
        try:
            async with asyncio.timeout(limit):
                while self._waiting or self.waiting_bytes:
                    self._released.clear()
                    await self._released.wait()
        except TimeoutError:
            return False
        return True

    async def put_aside(self, path: Path, record: bytes) -> None:
        """Add the record as one line to another file, on disk when this returns. Raises JournalError."""
        await self._on_disk(partial(append_line, path, record))

    async def _flush(self) -> None:
        """Put on disk whatever waits, all of it at once, for ever."""
        written = -math.inf
        while True:
            await self._work.wait()
            if (early := written + self._gather - time.monotonic()) > 0 and not self._closing:
                await asyncio.sleep(early)
            self._work.clear()
            batch, self._waiting = self._waiting, []
            if not batch:
                continue
            written = time.monotonic()
            problem: JournalError | None = None
            try:
                await self._on_disk(partial(self._store, join(record for record, _ in batch)))
            except JournalError as error:
                problem = error
            except Exception as error:  # whatever it is, nobody may wait for ever
                problem = JournalError(f"call records cannot be kept: {error!r}; report this")
            self._acknowledge([stored for _, stored in batch], problem)

    def _acknowledge(self, waiters: list[asyncio.Future[None]], problem: JournalError | None) -> None:
        if problem:
            self.counts.refused += len(waiters)
            log.error("%s", problem)
        else:
            self.counts.appended += len(waiters)
            self._stored.set()
        for stored in waiters:
            if stored.done():  # its caller was cancelled
                continue
            if problem:
                stored.set_exception(problem)
            else:
                stored.set_result(None)

    async def _on_disk(self, work: Callable[[], Result]) -> Result:
        """Do file work off the event loop. Raises JournalError for OSError."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._disk, work)
        except OSError as error:
            raise _explain(error, self.directory) from error

    # What follows runs in the one thread of self._disk.

    def _find(self) -> None:
        self.directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._lock = open(self.directory / "lock", "w", encoding="ascii")  # noqa: SIM115 - held until close()
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalError(f"another process writes call records in {self.directory}: stop it first") from None
        paths = sorted(self.directory.glob("cdr-*.journal"))
        self._sizes = {int(path.stem.partition("-")[2]): path.stat().st_size for path in paths}

    def _leave(self) -> None:
        """Close all; a file that the database has whole need not be read again by the next process."""
        last = list(self._sizes.items())
        self._close_active()
        if last == [(min(self._sizes, default=0), self._offset)]:
            self._drop(last[0][0])
        if self._lock:
            self._lock.close()
            self._lock = None

    def _path(self, number: int) -> Path:
        return self.directory / f"cdr-{number:012}.journal"

    def _store(self, lines: bytes) -> None:
        if sum(self._sizes.values()) + len(lines) > self._limit:
            raise JournalFull(
                f"the journal of call records in {self.directory} is full ({self._limit >> 20} MB wait): "
                f"see that PostgreSQL runs"
            )
        if self._active and self._active.size >= self._segment_bytes:
            self._close_active()
        if not self._active:
            number = max(self._sizes, default=0) + 1
            self._active = SegmentWriter(self._path(number))
            self._sizes[number] = 0
        try:
            self._active.store(lines)
        except OSError:
            self._close_active()  # after a failed fdatasync nobody knows what the file holds: begin another
            raise
        self._sizes[max(self._sizes)] = self._active.size

    def _close_active(self) -> None:
        active, self._active = self._active, None
        if active:
            active.close()

    def _read(self) -> Batch | None:
        """Return the next records; drops the files that have been read to their end on the way."""
        while self._sizes:
            number = min(self._sizes)
            path, size = self._path(number), self._sizes[number]
            piece = read_piece(path, self._offset, READ_BYTES, size)
            self._note_damage(path, piece.damaged)
            if piece.records:
                return Batch(piece.records, number, piece.end)
            if piece.damaged:
                self._offset = piece.end
                continue
            if self._active and path == self._active.path:
                return None
            if piece.end < size:
                self.counts.torn += 1
            self._drop(number)
        return None

    def _note_damage(self, path: Path, damaged: int) -> None:
        if damaged:
            log.error("%s damaged records in %s: the file is kept as *.damaged", damaged, path)
            self.counts.damaged += damaged
            self._damaged_here += damaged

    def _forget(self, batch: Batch) -> None:
        assert batch.number == min(self._sizes), "batches are released in order"
        self._offset = batch.end
        full = self._active is None or self._path(batch.number) != self._active.path
        if full and batch.end == self._sizes[batch.number]:
            self._drop(batch.number)

    def _drop(self, number: int) -> None:
        """Remove a file that the database has whole; one with damaged records is kept for a person to read."""
        path = self._path(number)
        if self._damaged_here:
            path.rename(path.with_suffix(".damaged"))
        else:
            path.unlink(missing_ok=True)
        sync_directory(self.directory)
        del self._sizes[number]
        self._offset = self._damaged_here = 0


def _explain(error: OSError, directory: Path) -> JournalError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return JournalFull(f"the disk of {directory} is full: free space, call records are being lost")
    return JournalError(f"call records cannot be kept in {directory} ({error.strerror}): see to its disk and owner")
