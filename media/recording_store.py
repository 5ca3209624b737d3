# SPDX-License-Identifier: GPL-3.0-or-later
"""Where complete recordings are kept: a folder, or an S3 bucket, by one interface (obstore).

Names are made of the day and the recording's UUID alone. A recording stays in the spool until the store has it, so
that a store that is away loses nothing; it is tried again at the next start and with the next recording.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from media.recording_settings import SUFFIX, RecorderError

CLOSE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Stored:
    """A recording in the store. modified: seconds since 1970."""

    id: UUID
    path: str
    bytes: int
    modified: float


class Store:
    """Moves recordings from the spool to the store, by a thread of its own."""

    def __init__(self, url: str, spool: Path) -> None:
        """Raise RecorderError for a store that cannot be."""
        self._store = open_store(url)
        self._spool = spool
        self._waiting: queue.SimpleQueue[UUID | None] = queue.SimpleQueue()
        self._mover = threading.Thread(target=self._move_all, name="recording store", daemon=True)
        self._mover.start()

    def keep(self, recordings: Iterable[UUID]) -> None:
        """Take over recordings that are complete."""
        for recording in recordings:
            self._waiting.put(recording)

    def take_over(self) -> None:
        """Take over what an earlier process left in the spool, cut short as it may be."""
        for path in sorted(self._spool.glob(f"*{SUFFIX}")):
            recording = recording_of(path.name)
            if recording:
                self._waiting.put(recording)

    def close(self) -> None:
        """Wait until everything is moved, though not for ever: the rest is taken over at the next start."""
        self._waiting.put(None)
        self._mover.join(CLOSE_SECONDS)

    def _move_all(self) -> None:
        while (recording := self._waiting.get()) is not None:
            self._move(recording)

    def _move(self, recording: UUID) -> None:
        import obstore

        spooled = self._spool / f"{recording}{SUFFIX}"
        try:
            day = time.strftime("%Y/%m/%d", time.gmtime(spooled.stat().st_mtime))
            obstore.put(self._store, f"{day}/{recording}{SUFFIX}", spooled)
        except (OSError, obstore.exceptions.BaseError) as error:
            print(f"recording {recording} stays in {self._spool}: {error}", flush=True)
            return
        os.unlink(spooled)


def open_store(url: str) -> Any:
    """The store at a URL: file:///folder, made if it is not there, or s3://bucket/prefix with AWS_* in the environment.

    Raises RecorderError.
    """
    import obstore.store

    try:
        if url.startswith("file://"):
            folder = Path(url.removeprefix("file://"))
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return obstore.store.LocalStore(folder)
        return obstore.store.from_url(url)
    except (OSError, ValueError, obstore.exceptions.BaseError) as error:
        raise RecorderError("system", f"recording.url {url}: {error}") from None


def stored(store: Any) -> Iterator[Stored]:
    """What is in the store. Raises RecorderError."""
    import obstore

    try:
        for part in obstore.list(store):
            for entry in part:
                recording = recording_of(entry["path"].rpartition("/")[2])
                if recording:
                    yield Stored(recording, entry["path"], entry["size"], entry["last_modified"].timestamp())
    except obstore.exceptions.BaseError as error:
        raise RecorderError("system", f"the store of recordings cannot be read: {error}") from None


def fetch(store: Any, recording: UUID) -> bytes:
    """The sealed bytes of one recording. Raises RecorderError "unknown"."""
    import obstore

    for each in stored(store):
        if each.id == recording:
            return bytes(obstore.get(store, each.path).bytes())
    raise RecorderError("unknown", f"no recording {recording} is in the store; see: voxdp recording list")


def recording_of(name: str) -> UUID | None:
    """The recording that a file is of, by its name."""
    try:
        return UUID(name.removesuffix(SUFFIX)) if name.endswith(SUFFIX) else None
    except ValueError:
        return None
