# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab: two endpoints and a relay in network namespaces, with a bpffs and a directory of their own.

    with Lab("two") as lab:
        relay = lab.spawn(lab.relay, "voxdp", "-c", str(lab.directory / "voxdp.toml"), "run")

Nothing of it is left when the block ends, however it ends: by an exception, SIGINT, SIGTERM or SIGHUP. What a
SIGKILL leaves is taken away when the next lab starts.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, ClassVar, Protocol, Self

from vm import leftovers, namespace, topology
from vm.process import LabError, Process, end_of, run

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A signal asked the lab to end; `number` is the signal's. Not an Exception: nobody may swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.number = number


class Closeable(Protocol):
    """Anything with a `close`."""

    def close(self) -> None:
        """Let go of it; a second time does nothing."""


class Lab:
    """Namespaces of one shape, from `with` to its end. Needs root."""

    made: ClassVar[list[Lab]] = []
    """Those of this process: who reports what failed finds their logs here, and forgets the labs that have ended."""

    def __init__(self, shape: topology.Shape = "two") -> None:
        self.name = f"voxlab-{secrets.token_hex(3)}"
        self.topology = topology.plan(shape, self.name)
        self.directory = leftovers.LABS / self.name
        self.bpffs = self.directory / "bpf"
        self._processes: list[tuple[Process, float]] = []
        self._owned: list[Closeable] = []
        self._further: list[str] = []
        self._handlers: dict[signal.Signals, Any] = {}
        self._kept: dict[str, str] | None = None
        self.made.append(self)

    @property
    def a(self) -> topology.Endpoint:
        """The first endpoint."""
        return self.topology.a

    @property
    def b(self) -> topology.Endpoint:
        """The second endpoint."""
        return self.topology.b

    @property
    def relay(self) -> str:
        """The relay's namespace."""
        return self.topology.relay

    def __enter__(self) -> Self:
        """Build everything; LabError names what the host lacks."""
        if os.geteuid() != 0:
            raise LabError("the lab makes network namespaces; run it as root")
        leftovers.clear_dead()
        self._catch_signals()
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def spawn(
        self, where: str, *command: str | Path, log: str | None = None, patience: float = 5.0, user: str = ""
    ) -> Process:
        """Start a program in namespace `where`; its output goes to `log` in the lab's directory.

        patience: seconds that it gets at the lab's end to end by itself. user: who it runs as, if not root.
        """
        place = self.directory / (log or f"{Path(command[0]).name}.log")
        process = Process(command, where, place, self.environment(), user)
        self._processes.append((process, patience))
        return process

    def own(self, thing: Closeable) -> None:
        """Close this, a socket for example, when the lab ends."""
        self._owned.append(thing)

    def add_namespace(self, suffix: str) -> str:
        """Make one more namespace, which goes with the lab; its name."""
        name = f"{self.name}-{suffix}"
        self._further.append(name)
        leftovers.own(self.directory, [*self.topology.namespaces, *self._further])
        namespace.create(name)
        return name

    def environment(self) -> dict[str, str]:
        """The environment of the lab's programs: no settings of the caller, our commands first in PATH."""
        commands = Path(sys.executable).parent
        return {
            "PATH": f"{commands}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.directory),
            "TMPDIR": str(self.directory / "tmp"),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
        }

    @property
    def ended(self) -> bool:
        """Whether it has been taken away."""
        return self._kept is not None

    def logs(self) -> dict[str, str]:
        """The ends of what its programs have written, by file name, as they were when the lab began to end."""
        if self._kept is not None:
            return self._kept
        written = [*self.directory.glob("*.log"), *self.directory.glob("*/*.log")]
        return {path.relative_to(self.directory).as_posix(): end_of(path) for path in sorted(written)}

    def close(self) -> None:
        """End all programs, the youngest first, and take the lab away; further signals wait until it is done."""
        self._kept = self.logs()
        for number in self._handlers:
            signal.signal(number, signal.SIG_IGN)
        try:
            for thing in self._owned:
                thing.close()
            for process, patience in reversed(self._processes):
                process.stop(patience=patience)
        finally:
            leftovers.clear(self.directory)
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            self._handlers.clear()

    def _build(self) -> None:
        leftovers.claim(self.directory, self.topology.namespaces)
        (self.directory / "tmp").mkdir()
        (self.directory / "tmp").chmod(0o1777)
        self.bpffs.mkdir()
        run("mount", "-t", "bpf", "none", self.bpffs)
        for name in self.topology.namespaces:
            namespace.create(name)
        topology.build(self.topology)

    def _catch_signals(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, _interrupt) for number in ENDING_SIGNALS}


def _interrupt(number: int, frame: FrameType | None) -> None:
    for ending in ENDING_SIGNALS:
        signal.signal(ending, signal.SIG_IGN)
    raise Interrupted(number)
