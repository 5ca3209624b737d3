# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of the lab: started inside a network namespace, ended by process id, never outliving the lab."""

from __future__ import annotations

import contextlib
import pwd
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

POLL = 0.02
PATIENCE = 60.0
"""Seconds that a lab waits for what takes less than one on an idle host: a busy one only takes longer."""
END = 1 << 18
"""Bytes of a log's end that are read at once: what is further back tells little of what failed."""
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


Found = TypeVar("Found")


class LabError(Exception):
    """The lab cannot go on; the text is one line that names the remedy."""


def run(*command: str | Path, stdin: str | None = None, timeout: float = 60.0, shown: str | None = None) -> str:
    """Run a command to its end and return its standard output; LabError, which names it as `shown`, if it fails."""
    arguments = [str(word) for word in command]
    name = shown or " ".join(arguments)
    try:
        done = subprocess.run(arguments, input=stdin, text=True, capture_output=True, timeout=timeout)
    except FileNotFoundError:
        raise LabError(f"{arguments[0]} is not installed; run: scripts/setup") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"'{name}' did not end within {timeout:g} s") from None
    if done.returncode != 0:
        told = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise LabError(f"'{name}' failed with {done.returncode}: {told}")
    return done.stdout


def until(found: Callable[[], Found], timeout: float = PATIENCE) -> Found:
    """Ask until the answer is true, and return it; LabError with the last one if it is not in time."""
    deadline = time.monotonic() + timeout
    while not (answer := found()):
        if time.monotonic() > deadline:
            raise LabError(f"not so within {timeout:g} s: {answer!r}")
        time.sleep(POLL)
    return answer


def inside(namespace: str, command: Sequence[str | Path]) -> list[str]:
    """The command line that runs `command` in a network namespace; mounts such as bpffs stay visible."""
    return ["nsenter", f"--net=/run/netns/{namespace}", "--", *(str(word) for word in command)]


def as_user(user: str) -> list[str]:
    """The words of setpriv that make a program this user's: no groups but its own, no capability, none to be had.

    "" is root, who stays what it is. LabError if there is no such user.
    """
    if not user:
        return []
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise LabError(f"there is no user {user}; see: getent passwd") from None
    identity = [f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]
    return [*identity, "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]


def end_of(log: Path) -> str:
    """What a program has printed last, without its colours; nothing if the file is gone."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - END))
            return COLOURS.sub("", file.read().decode(errors="replace"))
    except FileNotFoundError:
        return ""


class Process:
    """One running program with its output in `log`. It is killed by the kernel when this process dies.

    One setpriv changes the user and then asks for that signal: a change of user clears what was asked before.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        namespace: str,
        log: Path,
        environment: Mapping[str, str],
        user: str = "",
    ) -> None:
        guarded = ["setpriv", *as_user(user), "--pdeathsig", "KILL", "--", *command]
        self.name = Path(str(command[0])).name
        self.log = log
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                inside(namespace, guarded),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id of the program itself: nsenter and setpriv replace themselves by it."""
        return self._child.pid

    @property
    def status(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._child.poll()

    def text(self) -> str:
        """Everything that the program has printed so far, without its colours."""
        return COLOURS.sub("", self.log.read_text(errors="replace"))

    def last_line(self) -> str:
        """The last line with anything on it."""
        return (self.text().strip() or "no output").splitlines()[-1].strip()

    def wait(self, timeout: float) -> int:
        """Wait for its end and return the exit status; LabError after `timeout` seconds."""
        try:
            return self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name} did not end within {timeout:g} s; see {self.log}") from None

    def wait_for(self, what: str, found: Callable[[str], bool], timeout: float = PATIENCE) -> None:
        """Wait until `found` says yes to the output so far; LabError with its last line if it does not."""
        deadline = time.monotonic() + timeout
        while True:
            ended = self.status is not None  # asked first: what it said last is read then
            if found(self.text()):
                return
            if ended:
                raise LabError(f"{self.name} ended with {self.status} before {what}: {self.last_line()}")
            if time.monotonic() > deadline:
                raise LabError(f"{self.name}: no {what} within {timeout:g} s; it said last: {self.last_line()}")
            time.sleep(POLL)

    def kill(self) -> None:
        """SIGKILL, as a crash or the kernel's out-of-memory killer would do it."""
        self._signal(signal.SIGKILL)
        self._child.wait(PATIENCE)

    def stop(self, number: signal.Signals = signal.SIGTERM, patience: float = PATIENCE) -> int:
        """Ask it to end, insist after `patience` seconds, return its status."""
        self._signal(number)
        try:
            return self._child.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
            return -int(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._child.send_signal(number)
