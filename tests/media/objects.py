# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's C sources, compiled with a test's own flags: once, until a source, a flag or the compiler is another."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from media.engine_build import SOURCES

ROOT = Path(__file__).resolve().parents[2]
PLACES = [f"-I{ROOT / room}" for room in ("media", "bpf")]
KEPT = ROOT / ".venv" / "objects"
LONGEST = 1800
"""Seconds that one source may take, beside all other tests and giving way to them."""


def compiled(name: str, command: Sequence[str]) -> dict[str, Path]:
    """The object of each source, by the source's name. name: whose they are, of which one set is kept.

    command: the compiler and its flags; where headers are it is told here.
    """
    KEPT.mkdir(exist_ok=True)
    with (KEPT / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = KEPT / f"{name}-{digest(command)}"
        if not made.exists():
            for stale in KEPT.glob(f"{name}-*"):
                shutil.rmtree(stale)
            make([*command, *PLACES], made)
    return {source: made / f"{source}.o" for source in SOURCES}


def digest(command: Sequence[str]) -> str:
    """What tells these objects from all others."""
    version = subprocess.run([command[0], "--version"], stdout=subprocess.PIPE, check=True).stdout
    known = hashlib.sha256(repr([version, *command]).encode())
    for path in sorted([*(ROOT / "media").glob("[!_]*.[ch]"), *(ROOT / "bpf").glob("*.h")]):
        known.update(path.name.encode() + b"\0" + path.read_bytes())
    return known.hexdigest()[:16]


def make(command: Sequence[str], target: Path) -> None:
    with TemporaryDirectory(dir=KEPT) as scratch, ThreadPoolExecutor(os.cpu_count()) as pool:
        fresh = Path(scratch) / target.name
        fresh.mkdir()

        def compile_one(source: str) -> None:
            line = [*command, "-c", ROOT / "media" / source, "-o", fresh / f"{source}.o"]
            subprocess.run(line, check=True, timeout=LONGEST)

        list(pool.map(compile_one, SOURCES))
        fresh.rename(target)
