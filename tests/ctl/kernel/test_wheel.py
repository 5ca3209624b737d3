# SPDX-License-Identifier: GPL-3.0-or-later
"""What is shipped: a wheel that needs neither compiler nor repository where it is installed."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ctl.compiled.modules import LIBRARY, STAMP, fresh

ROOT = Path(__file__).resolve().parents[3]
ASK = """
import bpf
from ctl.kernel.libbpf import BpfObject
from provisioning.migrate import DIRECTORY, read_migrations
relay = BpfObject.open(bpf.RELAY_OBJECT)
relay.load()
print(bpf.RELAY_OBJECT, relay.program("relay").name, len(read_migrations(DIRECTORY)))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the contents of the wheel, built of the tracked files alone.

    What set-up has compiled of the same sources, which the build makes sure of, is not compiled once more.
    """
    source, place = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    for made in (LIBRARY, STAMP) if fresh() else ():
        shutil.copy(made, source / made.relative_to(ROOT))
    build = [Path(sys.executable).with_name("uv"), "build", "-q", "--wheel", "--no-build-isolation"]
    subprocess.run(
        [*build, "--python", sys.executable, "-o", place, source], check=True, env={**os.environ, "TMPDIR": str(source)}
    )
    with zipfile.ZipFile(next(place.glob("voxdp-*.whl"))) as wheel:
        wheel.extractall(place)
    return place


def test_the_relay_loads_and_the_command_runs_from_the_wheel_alone(installed: Path) -> None:
    place, name, migrations = python(installed, "-c", ASK).split()
    assert (Path(place), name) == (installed / "bpf" / "relay.bpf.o", "relay")
    assert int(migrations) == len(list((ROOT / "provisioning" / "migrations").glob("*.sql")))
    assert python(installed, "-m", "ctl.cli", "--version").startswith("voxdp")


def test_compiled_modules_are_in_the_wheel(installed: Path) -> None:
    tell = "from ctl.compiled.loader import load; from ctl.compiled.modules import LIBRARY; print(load(), LIBRARY)"
    assert python(installed, "-c", tell).split() == ["True", str(installed / LIBRARY.relative_to(ROOT))]


def test_it_says_what_it_is(installed: Path) -> None:
    (metadata,) = installed.glob("voxdp-*.dist-info")
    assert "voxdp = ctl.cli:main" in (metadata / "entry_points.txt").read_text()
    assert "License-Expression: GPL-3.0-or-later AND GPL-2.0-or-later" in (metadata / "METADATA").read_text()
    assert {path.name for path in (metadata / "licenses").rglob("*") if path.is_file()} == {
        "LICENSE",
        "GPL-2.0-or-later.txt",
        "GPL-3.0-or-later.txt",
    }


def python(installed: Path, *arguments: str) -> str:
    """What this Python prints where the repository is not: the wheel's contents come before all else."""
    prelude = {"PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=installed, env=prelude, check=True, capture_output=True, text=True).stdout
