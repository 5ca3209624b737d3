# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings as the recorder's process makes them: the C that makes sound of RTP, and files that hold it sealed.

The files are written by a thread of their own, from a queue of limited size. A disk that is full or slow costs sound
of the recording, which says so at its end; it never costs a packet of the call.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from media._engine import ffi, lib
from media.forwarding import Forwarder
from media.recording_settings import FORMATS, LAYOUTS, SUFFIX, RecorderError, RecordingSettings
from media.sealed import SOUND, Keys, SealedError, SealedWriter
from media.stages import NUMBERS

RECORDINGS = 4096
PIECES = 256
"""Pieces that wait to be written: of a second or less each."""
TAKEN_AT_ONCE = 1 << 18
SYNC_SECONDS = 5.0
NO_TYPE = 255


@dataclass(slots=True)
class Recording:
    """One under way. trouble: why its file could not be written to its end; empty if it could.

    writer, descriptor: of its file; forwarder: where its sound goes instead.
    """

    settings: RecordingSettings
    slot: int
    writer: SealedWriter | None
    descriptor: int
    began: float
    paused: bool = False
    dropped: int = 0
    trouble: str = ""
    synced: float = 0.0
    forwarder: Forwarder | None = None


class Recorder:
    """All recordings of the process. For one thread at a time; times are ns of CLOCK_MONOTONIC."""

    def __init__(self, spool: Path, keys: Keys, ca: str = "") -> None:
        """Raise RecorderError where the spool directory is not ours to write. ca: see `Forwarder`."""
        self._keys = keys
        self._ca = ca
        self._recorder = lib.recorder_create(RECORDINGS)
        self._room = ffi.new("uint8_t[]", TAKEN_AT_ONCE)
        self._recordings: dict[UUID, Recording] = {}
        self._finished: queue.SimpleQueue[Recording] = queue.SimpleQueue()
        self._pieces: queue.Queue[tuple[Recording, bytes | None]] = queue.Queue(PIECES)
        try:
            spool.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._spool = os.open(spool, os.O_DIRECTORY | os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise RecorderError("system", f"{spool}: {error.strerror}; set recording.directory") from None
        self._writer = threading.Thread(target=self._write, name="recording writer", daemon=True)
        self._writer.start()

    @property
    def active(self) -> int:
        """How many are under way."""
        return len(self._recordings)

    def start(self, settings: RecordingSettings, now: int) -> None:
        """Begin one. Raises RecorderError."""
        if settings.id in self._recordings:
            raise RecorderError("bad-request", f"recording {settings.id} exists")
        if settings.destination:
            self._forward(settings, now)
            return
        file, descriptor = self._create(settings)
        slot = lib.recorder_open(self._recorder, _encode(settings), now)
        if slot < 0:
            self._discard(settings.id, descriptor)
            code = "full" if slot == -28 else "bad-request"
            raise RecorderError(code, f"recording {settings.id}: {os.strerror(-slot)}")
        self._recordings[settings.id] = Recording(settings, slot, file, descriptor, time.time())

    def _forward(self, settings: RecordingSettings, now: int) -> None:
        try:
            forwarder = Forwarder(settings.destination, str(settings.about.get("metadata", "")), self._ca)
        except (ValueError, OSError) as error:
            raise RecorderError("bad-request", f"recording.forward_to: {error}") from None
        slot = lib.recorder_open(self._recorder, _encode(settings), now)
        if slot < 0:
            raise RecorderError("full" if slot == -28 else "bad-request", f"not forwarded: {os.strerror(-slot)}")
        self._recordings[settings.id] = Recording(settings, slot, None, -1, time.time(), forwarder=forwarder)

    def change(self, settings: RecordingSettings) -> None:
        """Name other codecs of the legs. Raises RecorderError."""
        lib.recorder_change(self._recorder, self._found(settings.id).slot, _encode(settings))

    def pause(self, recording: UUID, paused: bool) -> None:
        """Leave out what is said from now on, or take it in again. Raises RecorderError."""
        found = self._found(recording)
        lib.recorder_pause(self._recorder, found.slot, paused)
        found.paused = paused

    def source(self, recording: UUID, flow: int, leg: int) -> None:
        """Take the kernel relay's copies of a flow, by its index, for a leg. Raises RecorderError."""
        if lib.recorder_source(self._recorder, flow, self._found(recording).slot, leg):
            raise RecorderError("bad-request", f"flow {flow} or leg {leg} cannot be")

    def forget_source(self, flow: int) -> None:
        """Take no more copies of a flow."""
        lib.recorder_source(self._recorder, flow, -1, 0)

    def receive(self, descriptor: int) -> None:
        """Take in what taps have sent to a socket."""
        lib.recorder_receive(self._recorder, descriptor)

    def mirror(self, copies: int, count: int) -> None:
        """Take in copies of the kernel relay; `copies` is the address of an array of struct copy."""
        lib.recorder_mirror(self._recorder, ffi.cast("struct copy *", copies), count)

    def tick(self, now: int) -> None:
        """Make sound of what has come."""
        lib.recorder_tick(self._recorder, now)

    def drain(self) -> None:
        """Hand what has been made to the writer."""
        for recording in self._recordings.values():
            if not recording.forwarder:
                self._hand_over(recording)

    def forward(self) -> None:
        """Send what has been made to those who listen now."""
        for recording in self._recordings.values():
            if recording.forwarder:
                self._send(recording.slot, recording.forwarder)

    def stop(self, recording: UUID, now: int) -> dict[str, Any]:
        """End one; what became of it. Its file is complete later, see `finished`. Raises RecorderError."""
        found = self._found(recording)
        lib.recorder_finish(self._recorder, found.slot, now)
        if found.forwarder:
            self._send(found.slot, found.forwarder)
        else:
            self._hand_over(found)
        state = self.state(recording)
        lib.recorder_release(self._recorder, found.slot)
        del self._recordings[recording]
        if found.forwarder:
            found.forwarder.close()
            return state
        with suppress(queue.Full):  # a disk that hangs: the file has no end, and says so by that
            self._pieces.put((found, None), timeout=1.0)
        return state

    def finished(self) -> list[Recording]:
        """Return the recordings whose files are complete since this was asked last."""
        found = []
        with suppress(queue.Empty):
            while True:
                found.append(self._finished.get_nowait())
        return found

    def state(self, recording: UUID) -> dict[str, Any]:
        """What is known of one that is under way. Raises RecorderError."""
        found = self._found(recording)
        counts = ffi.new("struct recording_counts *")
        lib.recorder_count(self._recorder, found.slot, counts)
        return {
            "id": str(recording),
            "call": found.settings.about.get("call", ""),
            "paused": found.paused,
            "seconds": counts.milliseconds / 1000,
            "packets": counts.packets,
            "concealed_ms": counts.concealed,
            "unknown_packets": counts.unknown,
            "dropped_bytes": found.dropped + counts.left_out + (found.forwarder.dropped if found.forwarder else 0),
            "trouble": found.forwarder.trouble if found.forwarder else found.trouble,
            "destination": found.settings.destination,
        }

    def states(self) -> list[dict[str, Any]]:
        """What is known of all that are under way."""
        return [self.state(recording) for recording in self._recordings]

    def close(self, now: int) -> None:
        """End all, and wait until their files are written, though not for ever."""
        for recording in list(self._recordings):
            self.stop(recording, now)
        until = time.monotonic() + 2.0
        while not self._pieces.empty() and time.monotonic() < until:
            time.sleep(0.01)
        lib.recorder_destroy(self._recorder)

    def _found(self, recording: UUID) -> Recording:
        found = self._recordings.get(recording)
        if found is None:
            raise RecorderError("unknown", f"no recording {recording} is under way")
        return found

    def _create(self, settings: RecordingSettings) -> tuple[SealedWriter, int]:
        """A file in the spool that nobody else can have put there, whatever its name."""
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        about = {
            **settings.about,
            "layout": settings.layout,
            "format": settings.format,
            "rate": settings.rate,
            "started": time.time(),
        }
        try:
            descriptor = os.open(_name(settings.id), flags, 0o600, dir_fd=self._spool)
        except FileExistsError:
            raise RecorderError("bad-request", f"recording {settings.id} exists") from None
        except OSError as error:
            raise RecorderError("system", f"recording {settings.id}: {error}") from None
        file = os.fdopen(descriptor, "wb", buffering=0, closefd=False)
        try:
            return SealedWriter(file, str(settings.id), settings.tenant, self._keys, about), descriptor
        except (OSError, SealedError) as error:
            self._discard(settings.id, descriptor)
            raise RecorderError("system", f"recording {settings.id}: {error}") from None

    def _discard(self, recording: UUID, descriptor: int) -> None:
        os.close(descriptor)
        os.unlink(_name(recording), dir_fd=self._spool)

    def _send(self, slot: int, forwarder: Forwarder) -> None:
        taken = lib.recorder_take(self._recorder, slot, self._room, TAKEN_AT_ONCE)
        forwarder.send(bytes(ffi.buffer(self._room, taken)))

    def _hand_over(self, recording: Recording) -> None:
        while taken := lib.recorder_take(self._recorder, recording.slot, self._room, TAKEN_AT_ONCE):
            try:
                self._pieces.put_nowait((recording, bytes(ffi.buffer(self._room, taken))))
            except queue.Full:
                recording.dropped += taken

    def _write(self) -> None:
        while True:
            recording, data = self._pieces.get()
            try:
                if data is None:
                    self._finish(recording)
                elif recording.writer and not recording.trouble:
                    recording.writer.add(SOUND, data)
                    self._sync(recording)
            except OSError as error:
                recording.trouble = error.strerror or str(error)

    def _sync(self, recording: Recording) -> None:
        now = time.monotonic()
        if recording.writer and now - recording.synced >= SYNC_SECONDS:
            recording.writer.sync()
            recording.synced = now

    def _finish(self, recording: Recording) -> None:
        """A file that could not be written to its end has none: whoever reads it finds what is there."""
        try:
            if recording.writer and not recording.trouble:
                recording.writer.end({"ended": time.time(), "dropped_bytes": recording.dropped})
        finally:
            os.close(recording.descriptor)
            self._finished.put(recording)


def _name(recording: UUID) -> str:
    return f"{recording}{SUFFIX}"


def _encode(settings: RecordingSettings) -> Any:
    encoded = ffi.new("struct recording_settings *")
    encoded.name = settings.copies.bytes
    encoded.rate = settings.rate
    encoded.layout, encoded.format = LAYOUTS.index(settings.layout), FORMATS.index(settings.format)
    for place, leg in zip(encoded.legs, settings.legs, strict=True):
        listed = list(leg.codecs.items())[: lib.RECORDER_CODECS]
        place.count = len(listed)
        place.event_type = NO_TYPE if leg.events is None else leg.events
        place.noise_type = NO_TYPE if leg.noise is None else leg.noise
        for number, (payload_type, name) in enumerate(listed):
            place.types[number], place.numbers[number] = payload_type, NUMBERS[name]
    return encoded
