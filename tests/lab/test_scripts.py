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
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=100)


def test_every_dependency_is_pinned_by_hash_and_no_index_is_named():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"] + ["setuptools", "uv"]
    pins = dict(re.findall(r"^([a-z0-9-]+)(?:\[.*\])?==(.*) \\\n    --hash=sha256:", LOCK, re.MULTILINE))
    assert {re.split(r"[\[><=]", each)[0] for each in wanted} <= pins.keys()
    assert len(re.findall(r"^\S+==", LOCK, re.MULTILINE)) == len(pins)
    assert "://" not in LOCK


@pytest.mark.alone
def test_a_second_setup_from_anywhere_takes_less_than_a_second():
    assert run(ROOT / "scripts/setup").returncode == 0
    began = time.monotonic()
    done = run(ROOT / "scripts/setup")
    assert time.monotonic() - began < 1
    assert done.stdout.startswith(f"ready: {ROOT}/.venv/bin/voxdp")


@pytest.mark.parametrize("script", ["demo", "test"])
def test_what_needs_root_says_so_in_one_line(script):
    done = run("unshare", "--user", ROOT / "scripts" / script)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"run: sudo {ROOT}/scripts/{script}" in done.stderr


def test_setup_refuses_arguments():
    done = run(ROOT / "scripts/setup", "--fast")
    assert (done.returncode, done.stderr) == (1, "setup: takes no argument but 'tests', got: --fast\n")


def test_the_demo_explains_its_options_without_starting():
    done = run(ROOT / "scripts/demo", "--help")
    assert done.returncode == 0
    for option in ("--json", "--talk", "--one-interface", "--logs"):
        assert option in done.stdout
