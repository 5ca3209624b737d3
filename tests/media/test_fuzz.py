# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's C built anew under the sanitizers, and fed with what no peer should send."""

import subprocess
from pathlib import Path

import pytest

from media.engine_build import LIBRARIES
from tests.media.objects import PLACES, compiled

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-pthread"]
PARSER_ROUNDS = "2000000"
PACKETS = "100000"


def build(directory, sanitizers):
    program = directory / "fuzz"
    command = ["gcc", *FLAGS, f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"]
    objects = compiled(sanitizers.replace(",", "-"), command).values()
    libraries = [f"-l{name}" for name in LIBRARIES]
    line = [*command, *PLACES, "-o", program, ROOT / "tests/media/fuzz.c", *objects, *libraries]
    subprocess.run(line, check=True, timeout=500)
    return program


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_no_packet_harms_the_engine(tmp_path, sanitizer):
    program = build(tmp_path, sanitizer)
    outcome = subprocess.run([program, "1", PARSER_ROUNDS, PACKETS], capture_output=True, text=True, timeout=500)
    assert (outcome.returncode, outcome.stderr) == (0, "")
    words = outcome.stdout.split()
    counts = dict(zip(words[::2], map(int, words[1::2]), strict=True))
    print(counts)
    assert counts["parsed"] > 100_000
    for reason in (0, 2, 3, 4, 6, 7, 26):  # forwarded, off, wrong source, short, bad version, bad RTCP, bad STUN
        assert counts[f"reason-{reason}"] > 100
