# SPDX-License-Identifier: GPL-3.0-or-later
import re
import subprocess
import time
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()


def run(*command, cwd="/"):
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


def test_every_dependency_is_pinned_by_hash_and_no_index_is_named():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"] + ["setuptools", "uv"]
    pins = dict(re.findall(r"^([a-z0-9-]+)(?:\[.*\])?==(.*) \\\n    --hash=sha256:", LOCK, re.MULTILINE))
    assert {re.split(r"[\[><=]", each)[0] for each in wanted} <= pins.keys()
    assert len(re.findall(r"^\S+==", LOCK, re.MULTILINE)) == len(pins)
    assert "://" not in LOCK


@pytest.mark.alone
def test_a_second_setup_from_anywhere_takes_less_than_a_second():
    """The quickest of some, for what else runs on the host delays each."""
    assert run(ROOT / "scripts/setup").returncode == 0
    assert min(seconds_of_setup() for _ in range(5)) < 1


def seconds_of_setup():
    began = time.monotonic()
    done = run(ROOT / "scripts/setup")
    assert done.stdout.startswith(f"ready: {ROOT}/.venv/bin/voxdp")
    return time.monotonic() - began


@pytest.mark.parametrize("script", ["demo", "test"])
def test_what_needs_root_says_so_in_one_line(script):
    done = run("unshare", "--user", ROOT / "scripts" / script)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"run: sudo {ROOT}/scripts/{script}" in done.stderr


@pytest.mark.parametrize("script", ["bench", "check", "lock", "setup", "test"])
def test_a_script_explains_itself_and_does_nothing(script):
    done = run(ROOT / "scripts" / script, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "SPDX" not in done.stdout
    assert 1 < done.stdout.count("\n") < 10


def test_check_refuses_arguments():
    done = run(ROOT / "scripts/check", "tests")
    told = "check: takes no argument, got: tests; it always looks at all files\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", told)


def test_setup_refuses_arguments():
    done = run(ROOT / "scripts/setup", "--fast")
    assert (done.returncode, done.stderr) == (1, "setup: takes no argument but 'tests', got: --fast\n")


def test_the_demo_explains_its_options_without_starting():
    done = run(ROOT / "scripts/demo", "--help")
    assert done.returncode == 0
    for option in ("--json", "--talk", "--one-interface", "--logs"):
        assert option in done.stdout


UNITS = sorted((ROOT / "scripts" / "systemd").glob("*.service"))


def complaints(directory, change=("", "")):
    """What systemd says of the units, for the checkout where it is, with one text replaced by another."""
    for unit in UNITS:
        (directory / unit.name).write_text(unit.read_text().replace("/opt/voxdp", str(ROOT)).replace(*change))
    files = [directory / unit.name for unit in UNITS]
    said = run("systemd-analyze", "verify", "--man=no", *files).stderr.splitlines()
    return [line for line in said if any(unit.name in line for unit in UNITS)]


def test_the_units_are_what_systemd_takes(tmp_path):
    assert [unit.name for unit in UNITS] == ["voxdp-attach.service", "voxdp.service"]
    assert complaints(tmp_path) == []
    assert "Restrt" in complaints(tmp_path, ("Restart=", "Restrt="))[0]


def test_a_restart_of_the_service_ends_neither_engine_nor_relay():
    settings = {unit.name: unit.read_text() for unit in UNITS}
    assert "\nKillMode=process\n" in settings["voxdp.service"]
    assert "\nRuntimeDirectoryPreserve=yes\n" in settings["voxdp.service"]
    assert "ExecStop" not in settings["voxdp-attach.service"]


def test_a_step_is_told_before_it_is_done(tmp_path):
    """Compiling takes minutes: whoever waits is to see what for."""
    lines = f"step slow grep -c . {tmp_path}/shown; step wrong false"
    shell = f"source {ROOT}/scripts/lib.sh; {{ {lines}; }} > {tmp_path}/shown"
    assert run("bash", "-c", shell).returncode == 1
    slow, wrong = (tmp_path / "shown").read_text().splitlines()
    assert re.fullmatch(r"slow +\d+\.\d s", slow)
    assert re.fullmatch(r"wrong +FAILED", wrong)
