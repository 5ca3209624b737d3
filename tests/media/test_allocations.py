# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever is called for each packet takes no memory for it."""

import subprocess
from pathlib import Path

from media.engine_build import LIBRARIES
from tests.media.objects import PLACES, compiled

ROOT = Path(__file__).resolve().parents[2]
PACKETS, PACED = 300, 100
"""Of each way, and of one that is transcoded, as relay_allocations.c has it."""


def outcome_of(name: str, folder: Path) -> list[list[str]]:
    """The words of what the program of that name prints, whose exit must be 0."""
    program = folder / name
    command = ["gcc", "-std=gnu11", "-O1", "-D_GNU_SOURCE", "-fno-builtin", "-pthread"]
    objects = compiled("allocations", command).values()
    libraries = [f"-l{library}" for library in LIBRARIES]
    line = [*command, *PLACES, "-o", program, ROOT / f"tests/media/{name}.c", *objects, *libraries]
    subprocess.run(line, check=True, timeout=500)
    outcome = subprocess.run([program], capture_output=True, text=True, timeout=500)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return [line.split() for line in outcome.stdout.splitlines()]


def test_coders_and_suites_allocate_nothing_for_a_packet(tmp_path: Path) -> None:
    ((_, opening, _, carrying),) = outcome_of("allocations", tmp_path)
    assert int(opening) > 0
    assert int(carrying) == 0


def test_a_worker_allocates_nothing_from_socket_to_socket(tmp_path: Path) -> None:
    found = {name: tuple(map(int, counts)) for name, *counts in outcome_of("relay_allocations", tmp_path)}
    assert list(found) == ["plain", "counter", "galois", "copied", "transcoded", "inserted", "recorded"]
    for name, (came, _, carrying) in found.items():
        assert carrying == 0, name
        assert came >= (1.5 * PACED if name == "transcoded" else 2 * PACKETS), name
    assert found["copied"][0] >= 3 * PACKETS
    for name in ("counter", "galois", "transcoded", "inserted", "recorded"):
        assert found[name][1] > 0, f"{name}: nothing was counted while it was set up"
