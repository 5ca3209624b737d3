# SPDX-License-Identifier: GPL-3.0-or-later
"""Who owns a lab, and how all of it is taken away: at its end, or at the next start if its owner was killed.

Each lab has a directory LABS/NAME; its file `owner.json` is written before anything else is made and names all
that will be, so that nothing can be made and forgotten.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from vm import namespace

LABS = Path("/run/voxdp-lab")
OWNER = "owner.json"
CLAIM = 60.0
"""Seconds that it takes at most, on a busy host, from a directory to its owner."""


def claim(directory: Path, namespaces: Sequence[str]) -> None:
    """Make the directory of a lab and write down that this process owns it."""
    made = False
    while not made:
        with contextlib.suppress(FileNotFoundError):  # a lab that was the last one took LABS away meanwhile
            directory.mkdir(parents=True)
            made = True
    own(directory, namespaces)


def own(directory: Path, namespaces: Sequence[str]) -> None:
    """Write down that this process owns a lab of these namespaces."""
    pid = os.getpid()
    owner = {"pid": pid, "started": started(pid), "namespaces": list(namespaces)}
    draft = directory / f"{OWNER}.new"
    draft.write_text(json.dumps(owner))
    draft.replace(directory / OWNER)  # whoever looks sees all of it


def clear(directory: Path) -> None:
    """Take a lab away: its processes, namespaces, mounts and files. Does nothing twice."""
    with contextlib.suppress(OSError, ValueError):
        for name in json.loads((directory / OWNER).read_text())["namespaces"]:
            namespace.remove(name)
    for mount in reversed(mounts_below(directory)):
        _unmount(mount)
    shutil.rmtree(directory, ignore_errors=True)
    with contextlib.suppress(OSError):
        LABS.rmdir()


def clear_dead() -> list[str]:
    """Take away every lab whose owner is dead; return their names."""
    dead = [directory for directory in sorted(LABS.glob("*")) if not alive(directory)]
    for directory in dead:
        clear(directory)
    return [directory.name for directory in dead]


def alive(directory: Path) -> bool:
    """Whether the owner of a lab is there."""
    try:
        owner = json.loads((directory / OWNER).read_text())
    except (OSError, ValueError):
        # No owner yet: it may be claiming this very moment.
        return time.time() - _made(directory) < CLAIM
    try:
        return bool(started(owner["pid"]) == owner["started"])
    except FileNotFoundError:
        return False


def started(pid: int) -> str:
    """When a process began, in clock ticks since boot: with the id it names one process for good."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[19]


def mounts_below(directory: Path) -> list[str]:
    """Mount points under the directory, in the order in which they were mounted."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    points = [line.split()[1] for line in lines]
    return [point for point in points if point.startswith(f"{directory}/")]


def _made(directory: Path) -> float:
    try:
        return directory.stat().st_mtime
    except OSError:
        return time.time()


def _unmount(point: str, attempts: int = 50) -> None:
    """What was just killed may hold the mount for a moment longer."""
    for _ in range(attempts):
        if subprocess.run(["umount", point], capture_output=True).returncode == 0:
            return
        time.sleep(0.02)
    subprocess.run(["umount", "--lazy", point], capture_output=True)
