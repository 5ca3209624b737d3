# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo as a newcomer runs it, and as he stops it."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vm import leftovers, namespace
from vm.process import PATIENCE

ROOT = Path(__file__).parents[2]
DEMO = [sys.executable, "-m", "vm.demo", "--talk", "1.5"]


def left():
    """What labs that are over have left on this host: their directories, namespaces and mounts."""
    living = {directory.name for directory in leftovers.LABS.glob("*") if leftovers.alive(directory)}
    namespaces = [path.name for path in namespace.NAMESPACES.glob("voxlab-*")]
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if "voxlab-" in line]
    found = [*map(str, leftovers.LABS.glob("*")), *namespaces, *mounts]
    return [thing for thing in found if not any(name in thing for name in living)]


@pytest.fixture(autouse=True)
def _nothing_stays():
    before = left()
    yield
    assert [thing for thing in left() if thing not in before] == []


@pytest.mark.parametrize("shape", [[], ["--one-interface"]], ids=["two interfaces", "one interface"])
def test_everything_is_proven_and_the_last_line_is_the_result(shape):
    done = subprocess.run([*DEMO, "--json", *shape], cwd=ROOT, capture_output=True, text=True, timeout=8 * PATIENCE)
    assert done.returncode == 0, done.stderr
    assert "All of it works" in done.stderr
    result = json.loads(done.stdout)
    assert result["kernel_packets"] >= 0.999 * result["rtp_packets"]
    assert result["rtp_packets"] > 200
    known = {key: result[key] for key in ("calls", "answered", "audio_ok", "rtp_lost", "controller_kills", "cdrs")}
    assert known == {"calls": 2, "answered": 2, "audio_ok": True, "rtp_lost": 0, "controller_kills": 1, "cdrs": 2}


@pytest.mark.parametrize("moment", ["network", "kernel", "controller", "answered", "SIGKILL", "restarted", "ended"])
def test_an_interrupt_at_any_moment_leaves_nothing(moment):
    with subprocess.Popen(DEMO, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        for line in demo.stdout:
            if line.strip().startswith(moment):
                break
        demo.send_signal(signal.SIGINT)
        _, told = demo.communicate(timeout=2 * PATIENCE)
    assert (demo.returncode, told) == (130, "demo: interrupted; everything it had started is gone\n")
