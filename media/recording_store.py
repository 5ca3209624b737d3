# SPDX-License-Identifier: GPL-3.0-or-later
"""Where complete recordings are kept: a folder, or an S3 bucket, by one interface (obstore).

Names are made of the day and the recording's UUID alone. A recording stays in the spool until the store has it, so
that a store that is away loses nothing; it is tried again every minute, with the next recording, and at the next start.
"""

from __future__ import annotations

import os
import queue
import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from media.recording_settings import SUFFIX, RecorderError

CLOSE_SECONDS = 10.0
AGAIN_SECONDS = 60.0
RETRIES = 2
"""Of one request, within RETRY_TIME: for longer, recordings wait in the spool."""
RETRY_TIME = timedelta(seconds=30)
UNREADABLE = "the store of recordings cannot be read"
ERROR_CODE = re.compile(r"<Code>(\w+)</Code>")
"""In the body of what an S3 server refuses."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A recording in the store. modified: seconds since 1970."""

    id: UUID
    path: str
    bytes: int
    modified: float


class Store:
    """Moves recordings from the spool to the store, by a thread of its own."""

    def __init__(self, url: str, spool: Path, again: float = AGAIN_SECONDS) -> None:
        """again: seconds until what the store would not have is tried anew. Raises RecorderError: no such store."""
        self._store = open_store(url)
        self._spool = spool
        self._again = again
        self._behind: list[UUID] = []
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
        while True:
            try:
                recording = self._waiting.get(timeout=self._again if self._behind else None)
            except queue.Empty:
                self._catch_up()
                continue
            if recording is None:
                return
            trouble = self._move(recording)
            if trouble:
                self._behind.append(recording)
                _say(f"recording {recording} stays in {self._spool}: {trouble}")
            elif self._behind:
                self._catch_up()

    def _catch_up(self) -> None:
        """Try what had to wait, as far as the store takes it. Said once it did, not at each try."""
        self._behind = [each for each in self._behind if self._spooled(each).exists()]
        while self._behind and not self._move(self._behind[0]):
            _say(f"recording {self._behind.pop(0)} is in the store now")

    def _move(self, recording: UUID) -> str:
        """Why it stays where it is; empty: it has moved."""
        import obstore

        spooled = self._spooled(recording)
        try:
            day = time.strftime("%Y/%m/%d", time.gmtime(spooled.stat().st_mtime))
            obstore.put(self._store, f"{day}/{recording}{SUFFIX}", spooled)
            os.unlink(spooled)
        except (OSError, obstore.exceptions.BaseError) as error:
            return _in_a_line(error)
        return ""

    def _spooled(self, recording: UUID) -> Path:
        return self._spool / f"{recording}{SUFFIX}"


def open_store(url: str) -> Any:
    """The store at a URL: file:///folder, made if it is not there, or s3://bucket/prefix with AWS_* in the environment.

    Raises RecorderError.
    """
    import obstore.store

    with _told(f"recording.url {url}"):
        if url.startswith("file://"):
            folder = Path(url.removeprefix("file://"))
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return obstore.store.LocalStore(folder)
        return obstore.store.from_url(url, retry_config={"max_retries": RETRIES, "retry_timeout": RETRY_TIME})


def stored(store: Any) -> Iterator[Stored]:
    """What is in the store. Raises RecorderError."""
    import obstore

    with _told(UNREADABLE):
        listed = [entry for part in obstore.list(store) for entry in part]
    for entry in listed:
        recording = recording_of(entry["path"].rpartition("/")[2])
        if recording:
            yield Stored(recording, entry["path"], entry["size"], entry["last_modified"].timestamp())


def fetch(store: Any, recording: UUID) -> bytes:
    """The sealed bytes of one recording. Raises RecorderError "unknown"."""
    import obstore

    for each in stored(store):
        if each.id == recording:
            with _told(UNREADABLE):
                return bytes(obstore.get(store, each.path).bytes())
    raise RecorderError("unknown", f"no recording {recording} is in the store; see: voxdp recording list")


def recording_of(name: str) -> UUID | None:
    """The recording that a file is of, by its name."""
    try:
        return UUID(name.removesuffix(SUFFIX)) if name.endswith(SUFFIX) else None
    except ValueError:
        return None


def _say(line: str) -> None:
    """To the recorder's log."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def _told(what: str) -> Iterator[None]:
    """What the store cannot do is a RecorderError of one line."""
    import obstore

    try:
        yield
    except (OSError, ValueError, obstore.exceptions.BaseError) as error:
        raise RecorderError("system", f"{what}: {_in_a_line(error)}") from None


def _in_a_line(error: Exception) -> str:
    """obstore tells all it knows, in many lines; of a server's refusal the code is what helps."""
    code = ERROR_CODE.search(str(error))
    if code is None:
        return str(error).partition("\n")[0]
    if code[1] == "NoSuchBucket":
        return "the store answers NoSuchBucket; make the bucket, or set recording.url"
    return f"the store answers {code[1]}; see AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION of the recorder"
