# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of tests leaves nothing behind, however it ends: no process, no mount, no namespace, no file.

The tests are a child of the process that was started. That one waits for them, and then ends what processes they left,
those that outlive their parents by design included, and takes away the directory that was TMPDIR for all of them. If it
is killed itself the tests are asked to end, and the next run takes the directory away.

`--basetemp DIRECTORY` keeps the files of tests.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

import pytest

from tests.isolation import adopt_orphans, die_with_parent
from vm import leftovers, namespace

PREFIX = "voxdp-run-"
YOUNG = 10.0
"""Seconds within which a directory may not have been locked yet."""
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SI_KERNEL = 0x80


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return
    clear_dead()
    place = make_place()
    if not config.option.basetemp:
        config.option.basetemp = str(place / "t")  # short: sockets below it have paths of 107 bytes at most
    become_guarded(place)


def make_place() -> Path:
    """A directory that all users may write to, locked for as long as a process of the run lives."""
    place = Path(tempfile.mkdtemp(prefix=PREFIX))
    place.chmod(0o1777)
    fcntl.flock(os.open(place, os.O_RDONLY | os.O_DIRECTORY), fcntl.LOCK_EX)
    os.environ["TMPDIR"] = tempfile.tempdir = str(place)
    return place


def become_guarded(place: Path) -> None:
    """Return in a child; here, wait for its end, tidy up, and end as it did."""
    adopt_orphans()
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {*ENDING, signal.SIGCHLD})
    if run := os.fork():
        guard(run, place)
    die_with_parent(signal.SIGTERM)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    signal.pthread_sigmask(signal.SIG_SETMASK, former)


def interrupt(number: int, frame: FrameType | None) -> None:
    """As Ctrl-C: pytest ends the test and all fixtures. Once, for `timeout` and we ourselves tell it both."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.SIG_IGN)
    raise KeyboardInterrupt(signal.Signals(number).name)


def guard(run: int, place: Path) -> NoReturn:
    status = None
    while status is None:
        told = signal.sigwaitinfo({*ENDING, signal.SIGCHLD})
        if told.si_signo != signal.SIGCHLD and told.si_code != SI_KERNEL:  # a terminal tells the run, too
            with suppress(ProcessLookupError):
                os.kill(run, told.si_signo)
        status = dict(ended_children()).get(run)
    end_all()
    clear_host(run)
    clear(place)
    os._exit(status if status >= 0 else 128 - status)


def ended_children() -> list[tuple[int, int]]:
    """Process and exit status of each that has ended since the last look."""
    found = []
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            found.append((ended[0], os.waitstatus_to_exitcode(ended[1])))
    return found


def end_all() -> None:
    """End all children; those of an ended one become ours."""
    while left := children():
        for child in left:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        for child in left:
            with suppress(ChildProcessError):
                os.waitpid(child, 0)


def children() -> list[int]:
    ours = str(os.getpid())
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if path.read_text().rpartition(")")[2].split()[1] == ours:
                found.append(int(path.parent.name))
    return found


def clear_host(run: int) -> None:
    """Labs of the dead, and namespaces that the run has named by its process id."""
    if os.geteuid() == 0:
        leftovers.clear_dead()
        for path in namespace.NAMESPACES.glob("vx*"):
            if re.search(rf"\D{run}(\D|$)", path.name):
                namespace.remove(path.name)


def clear_dead() -> None:
    """Take away the directories of runs that were killed together with their guards."""
    for place in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # another user's, or in use
            lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if time.time() - place.stat().st_mtime > YOUNG:
                    clear(place)
            finally:
                os.close(lock)


def clear(place: Path) -> None:
    """Take a directory away, unless something is mounted in it that does not go."""
    for mount in reversed(leftovers.mounts_below(place)):
        subprocess.run(["umount", mount], capture_output=True)
    if not leftovers.mounts_below(place):
        shutil.rmtree(place, ignore_errors=True)
