# SPDX-License-Identifier: GPL-3.0-or-later
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LITTER = """
import os, subprocess, time
from pathlib import Path

def test_leaves_a_mess(tmp_path):
    forking = ["setsid", "--fork", "sh", "-c", "echo $$; exec sleep 1000 >/dev/null 2>&1"]
    orphan = subprocess.run(forking, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    (Path(os.environ["TMPDIR"]) / "litter").mkdir()
    Path("told.new").write_text(" ".join([os.environ["TMPDIR"], str(tmp_path), orphan]))
    Path("told.new").rename("told")
    time.sleep(SECONDS)
"""


@pytest.mark.parametrize(("number", "status"), [(None, 0), (signal.SIGTERM, 2), (signal.SIGHUP, 2)])
def test_a_run_leaves_nothing_however_it_ends(tmp_path, number, status):
    run = start(tmp_path, seconds=60 if number else 0)
    try:
        place, files, orphan = told(tmp_path)
        if number:
            assert alive(int(orphan))
            run.send_signal(number)
        assert run.wait(60) == status
    finally:
        run.kill()
        run.wait()
    assert files.startswith(place)
    assert Path(place).parent == tmp_path
    assert not Path(place).exists()
    assert not alive(int(orphan))


def test_a_killed_run_ends_and_its_directory_goes_at_the_next_start(tmp_path):
    run = start(tmp_path, seconds=60)
    place, _, orphan = told(tmp_path)
    run.kill()
    run.wait()
    os.kill(int(orphan), signal.SIGKILL)
    while Path(place).exists():
        os.utime(place, (0, 0))  # long ago
        (tmp_path / "told").unlink(missing_ok=True)
        assert start(tmp_path, seconds=0).wait(60) == 0


def start(place, seconds):
    test = place / "test_litter.py"
    test.write_text(LITTER.replace("SECONDS", str(seconds)))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.guard", "-p", "no:asyncio", "-c", os.devnull]
    environment = os.environ | {"TMPDIR": str(place), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([*command, "--rootdir", place, test], cwd=place, env=environment, stdout=subprocess.DEVNULL)


def told(place):
    """The run's TMPDIR, that of its test, and a process that nobody waits for."""
    deadline = time.monotonic() + 60
    while not (place / "told").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return (place / "told").read_text().split()


def alive(process):
    return Path(f"/proc/{process}").exists()
