# SPDX-License-Identifier: GPL-3.0-or-later
"""What a flow does with RTP between receiving and sending it: stages of a test's own, linked into an engine."""

import subprocess
from pathlib import Path

from media.engine_build import LIBRARIES
from tests.media.objects import PLACES, compiled

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-pthread"]


def test_stages_of_our_own(tmp_path):
    """Packets in and out, time, events, reports, other settings, and what becomes of one that crashes."""
    program = tmp_path / "stages"
    command = ["gcc", *FLAGS, "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    objects = compiled("address-undefined", command)
    del objects["stage_types.c"]
    libraries = [f"-l{name}" for name in LIBRARIES]
    line = [*command, *PLACES, "-o", program, ROOT / "tests/media/stages.c", *objects.values(), *libraries]
    subprocess.run(line, check=True, timeout=500)
    outcome = subprocess.run([program], capture_output=True, text=True, timeout=500)
    assert (outcome.returncode, outcome.stderr) == (0, "")
