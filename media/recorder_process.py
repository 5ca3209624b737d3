# SPDX-License-Identifier: GPL-3.0-or-later
"""The recorder as a process of its own: it decodes what anybody sends, and a disk may make it wait.

    {"op": "ping"}                              → pid
    {"op": "start", "settings": {…}}            see media/recorder.py
    {"op": "change", "settings": {…}}           other codecs of the legs
    {"op": "pause" | "resume", "id": uuid}
    {"op": "source", "id": uuid, "flow": 7, "leg": 0}   copies of the kernel relay; "forget": {"flow": 7}
    {"op": "stop", "id": uuid}                  → state
    {"op": "list"}                              → states of what is under way
    {"op": "shutdown"}

Copies of packets come to a datagram socket beside the control socket. Files go to a spool directory and from there,
once complete, to the store: a folder, or S3.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from media.control_socket import ControlSocket
from media.flows import EngineError
from media.process import drain, forbid_core_dumps
from media.recorder import Recorder
from media.recording_settings import RecorderError, settings_from_json
from media.recording_store import Store
from media.sealed import Keys, SealedError
from media.spawn import READY, tell

TAP_SUFFIX = ".tap"
TICK = 0.02
DRAIN_EVERY = 25
"""Ticks between two looks at what can be written: half a second."""
RECEIVE_BUFFER = 4 << 20
Mirror = Callable[[], tuple[int, int]]
"""Returns address and number of copies that the kernel relay has made since."""


@dataclass(frozen=True, slots=True)
class RecorderSettings:
    """How to run the recorder. store: URL of the folder or bucket; keys: file of tenants' keys, None: see `key`.

    keyless: it may run without any, for it only forwards then. ca: file of certificates; see `media.forwarding`.
    """

    socket: Path
    spool: Path
    store: str
    keys: Path | None = None
    ready: int | None = None
    keyless: bool = False
    ca: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a recorder by command line; the exit status."""
    return run(parse(arguments))


def parse(arguments: Sequence[str] | None, parser: argparse.ArgumentParser | None = None) -> RecorderSettings:
    """The settings of a command line."""
    parser = parser or argparse.ArgumentParser(prog="voxdp recorder", description="Record calls.")
    parser.add_argument("--socket", type=Path, required=True, help="path of the control socket")
    parser.add_argument("--spool", type=Path, required=True, help="directory of recordings under way")
    parser.add_argument("--store", required=True, help="file:///folder or s3://bucket/prefix")
    parser.add_argument("--keys", type=Path, help="file of keys; without it VOXDP_RECORDING__KEY is the key")
    parser.add_argument("--keyless", action="store_true", help="run without keys, and record nothing")
    parser.add_argument("--ca", default="", help="file of certificates that sign those of whom sound is forwarded to")
    parser.add_argument("--ready", type=int, metavar="FD", help="descriptor to tell that the socket listens")
    known = vars(parser.parse_args(arguments))
    return RecorderSettings(**{name: known[name] for name in RecorderSettings.__dataclass_fields__})


def run(settings: RecorderSettings, mirror: Mirror | None = None) -> int:
    """Serve until SIGTERM, SIGINT or a request to shut down; the exit status, 1 if it cannot start."""
    try:
        forbid_core_dumps()
        keys = Keys.parse("") if settings.keyless else read_keys(settings.keys)
        recorder = Recorder(settings.spool, keys, settings.ca)
        store = Store(settings.store, settings.spool)
        control = ControlSocket(settings.socket)
        try:
            serve(control, recorder, store, settings, mirror)
        finally:
            control.close()
    except (EngineError, RecorderError, SealedError) as error:
        tell(settings.ready, f"{getattr(error, 'code', 'system')} {error}".encode())
        print(f"voxdp recorder: {error}", file=sys.stderr)
        return 1
    return 0


def read_keys(path: Path | None) -> Keys:
    """The keys in a file or, without one, in the environment. Raises SealedError."""
    if path is None:
        text = os.environ.get("VOXDP_RECORDING__KEY", "")
    else:
        try:
            text = path.read_text()
        except OSError as error:
            raise SealedError(f"{path}: {error.strerror}; set recording.key_file") from None
    keys = Keys.parse(text)
    if not keys.tenants:
        raise SealedError(
            "no key for recordings; set recording.key_file, a line of 64 hex digits: openssl rand -hex 32"
        )
    return keys


def serve(
    control: ControlSocket, recorder: Recorder, store: Store, settings: RecorderSettings, mirror: Mirror | None
) -> None:
    """Record until the end is asked for."""
    requests = Requests(recorder)
    control.answer = requests.answer
    taps = open_taps(settings.socket.with_name(settings.socket.name + TAP_SUFFIX))
    reader, writer = socket.socketpair()
    for end in (reader, writer):
        end.setblocking(False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: requests.end())
    signal.set_wakeup_fd(writer.fileno())
    control.watch(reader.fileno(), lambda: drain(reader))
    store.take_over()
    tell(settings.ready, READY)
    ticks, due = 0, time.monotonic()
    try:
        while not requests.ending:
            control.wait(max(0.0, due - time.monotonic()))
            if time.monotonic() < due:
                continue
            due, ticks = time.monotonic() + TICK, ticks + 1
            look(recorder, taps, mirror)
            if not ticks % DRAIN_EVERY:
                recorder.drain()
                store.keep([each.settings.id for each in recorder.finished()])
    finally:
        signal.set_wakeup_fd(-1)
        recorder.close(time.monotonic_ns())
        store.keep([each.settings.id for each in recorder.finished()])
        store.close()
        taps.close()


def look(recorder: Recorder, taps: socket.socket, mirror: Mirror | None) -> None:
    """Take in what has come, and make sound of it."""
    recorder.receive(taps.fileno())
    if mirror:
        recorder.mirror(*mirror())
    recorder.tick(time.monotonic_ns())
    recorder.forward()


def open_taps(path: Path) -> socket.socket:
    """The socket that taps of the engine send to; nobody but our user can."""
    with suppress(FileNotFoundError):
        path.unlink()
    taps = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    before = os.umask(0o177)
    try:
        taps.bind(str(path))
    except OSError as error:
        raise EngineError("system", f"{path}: {error.strerror or error}") from None
    finally:
        os.umask(before)
    taps.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    return taps


class Requests:
    """Answers requests about one recorder."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.ending = False

    def end(self) -> None:
        """The end is asked for."""
        self.ending = True

    def answer(self, message: bytes) -> bytes:
        """The reply to one message; never raises for what is in it."""
        try:
            reply = {"ok": True, **self._carry_out(json.loads(message))}
        except RecorderError as error:
            reply = {"ok": False, "code": error.code, "text": str(error)}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            reply = {"ok": False, "code": "bad-request", "text": f"bad request: {error!r:.200}"}
        return json.dumps(reply, separators=(",", ":")).encode()

    def _carry_out(self, request: Mapping[str, Any]) -> dict[str, Any]:
        recorder, now = self._recorder, time.monotonic_ns()
        match request["op"]:
            case "ping":
                return {"pid": os.getpid()}
            case "start":
                recorder.start(settings_from_json(request["settings"]), now)
            case "change":
                recorder.change(settings_from_json(request["settings"]))
            case "pause" | "resume" as way:
                recorder.pause(UUID(request["id"]), way == "pause")
            case "source":
                recorder.source(UUID(request["id"]), request["flow"], request["leg"])
            case "forget":
                recorder.forget_source(request["flow"])
            case "stop":
                return {"state": recorder.stop(UUID(request["id"]), now)}
            case "list":
                return {"states": recorder.states()}
            case "shutdown":
                self.ending = True
            case _:
                raise RecorderError("bad-request", "unknown op")
        return {}


if __name__ == "__main__":
    sys.exit(main())
