# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever is called for each packet takes no memory for it."""

import subprocess
from pathlib import Path

from media.engine_build import LIBRARIES, SOURCES

ROOT = Path(__file__).resolve().parents[2]


def test_nothing_is_allocated_in_the_way_of_a_packet(tmp_path: Path) -> None:
    program = tmp_path / "allocations"
    sources = [ROOT / "tests/media/allocations.c", *(ROOT / "media" / name for name in SOURCES)]
    libraries = [f"-l{name}" for name in LIBRARIES]
    places = [f"-I{ROOT / 'media'}", f"-I{ROOT / 'bpf'}"]
    command = ["gcc", "-std=gnu11", "-O1", "-D_GNU_SOURCE", "-fno-builtin", "-pthread", *places, "-o", program]
    subprocess.run([*command, *sources, *libraries], check=True, timeout=250)
    outcome = subprocess.run([program], capture_output=True, text=True, timeout=60)
    assert outcome.returncode == 0, outcome.stdout
    _, opening, _, carrying = outcome.stdout.split()
    assert int(opening) > 0
    assert int(carrying) == 0
