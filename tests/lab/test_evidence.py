# SPDX-License-Identifier: GPL-3.0-or-later
"""A test of the lab that fails tells what its programs said, whether its lab still stands by then or not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.lab import evidence

ROOT = Path(__file__).parents[2]
LOG = """\
2026-01-05T10:00:00.000000Z [info     ] signalling listens             where=udp
2026-01-05T10:00:01.000000Z [warning  ] overloaded                     busy=0.99
2026-01-05T10:00:02.000000Z [error    ] call failed
Traceback (most recent call last):
ValueError: seven
2026-01-05T10:00:03.000000Z [info     ] call ended
"""
FAILING = """
import pytest
from vm.lab import Lab
from vm.sipp import Sipp

LOG = '''{log}'''

def spoken(lab):
    text = f"for i in $(seq 50); do echo line $i; done; echo '{{LOG}}'"
    assert lab.spawn(lab.relay, "sh", "-c", text, log="voxdp.log").wait(60) == 0

@pytest.fixture
def standing():
    with Lab("one") as lab:
        spoken(lab)
        yield lab

def test_standing(standing):
    assert standing is None

def test_ended():
    with Lab("one") as lab:
        spoken(lab)
        nobody = f"{{lab.b.address}}:5999"
        limits = ["-m", "1", "-max_invite_retrans", "1"]
        assert Sipp(lab, lab.a, "caller", ["-sn", "uac", *limits, nobody]).finish().failed == 0

def test_without_a_lab():
    assert Lab.made, "forgotten"
"""


def test_each_program_is_reported_whether_its_lab_stands_or_has_ended(tmp_path):
    told = failures(tmp_path)
    for name in ("test_standing", "test_ended"):
        wrong = told[name]["warnings and errors of voxdp.log"]
        assert [line.split()[1] for line in wrong] == ["[warning", "[error", "(most", "seven"]
        said = told[name]["voxdp.log"]
        assert len(said) == evidence.LINES
        assert (said[0], said[evidence.FIRST], said[-1].split()[-2:]) == ("line 1", "...", ["call", "ended"])
        assert len(told[name]["load average"][0].split()) == 3
    assert "retransmission" in "".join(told["test_ended"]["caller/errors.log"])
    assert list(told["test_without_a_lab"]) == ["load average"]


def failures(place):
    """What another run tells of these tests: the lines of each section, without the names of the labs."""
    tests = place / "test_failing.py"
    tests.write_text(FAILING.format(log=LOG.strip()))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.lab.conftest", "-p", "no:asyncio", "-c", os.devnull]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, tests], cwd=place, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 1, done.stdout
    found, test, section = {}, {}, []
    for line in done.stdout.splitlines():
        if heading := re.fullmatch(r"_+ (\w+) _+", line):
            test, section = found.setdefault(heading[1], {}), []
        elif heading := re.fullmatch(r"-+ (?:voxlab-\w+: )?(.+?) -+", line):
            section = test.setdefault(heading[1], [])
        elif re.fullmatch(r"=+ .+ =+", line):
            section = []
        else:
            section.append(line)
    return found
