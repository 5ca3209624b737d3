# SPDX-License-Identifier: GPL-3.0-or-later
"""Ethernet frames that the engine writes and reads itself, see frames.c."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-fsanitize=address,undefined"]


def test_frames_of_both_families(tmp_path: Path) -> None:
    program = tmp_path / "frames"
    places = [f"-I{ROOT / 'media'}", f"-I{ROOT / 'bpf'}"]
    sources = [ROOT / "tests/media/frames.c", ROOT / "media/frame.c"]
    subprocess.run(["gcc", *FLAGS, *places, "-o", program, *sources], check=True, timeout=500)
    outcome = subprocess.run([program], capture_output=True, text=True, timeout=500)
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "", "")
