# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources that mypyc does not take are told before they are committed, for the build then leaves all as Python."""

import fcntl
import hashlib
import os
import subprocess
import sys
import threading

import pytest

from ctl.compiled import build


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A checkout of one module, of which nothing has been compiled."""
    source = tmp_path / "sip/made.py"
    source.parent.mkdir()
    (tmp_path / "sip/__init__.py").touch()
    source.write_text("def double(number: int) -> int:\n    return 2 * number\n")
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "HERE", tmp_path)
    monkeypatch.setattr(build, "CHECKED", tmp_path / "checked")
    monkeypatch.setattr(build, "modules", lambda: ["sip.made"])
    monkeypatch.setattr(build, "source", lambda _: source)
    monkeypatch.setattr(build, "fresh", lambda: False)
    monkeypatch.setattr(build, "digest", lambda: hashlib.sha256(source.read_bytes()).hexdigest())
    return source


def test_sources_that_mypyc_takes_are_asked_about_once(made, monkeypatch):
    build.check()
    monkeypatch.setattr(build, "_MYPYC", "raise SystemExit('asked again')")
    build.check()
    made.write_text("def double(number: int) -> int:\n    return number + number\n")
    with pytest.raises(build.BuildError, match="asked again"):
        build.check()


def test_sources_that_it_does_not_take_are_told(made):
    made.write_text("def double(number: int) -> int:\n    return str(number)\n")
    with pytest.raises(build.BuildError, match="Incompatible return value type"):
        build.check()
    assert not build.CHECKED.exists()


def test_so_are_classes_that_cannot_be_written_out(made):
    made.write_text("@dataclass\nclass A:\n    x: int\n")
    with pytest.raises(build.BuildError, match="a dataclass without slots"):
        build.check()


def test_what_another_is_making_is_waited_for_and_not_made_again(made, monkeypatch):
    other = os.open(build.HERE, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    asked = []
    monkeypatch.setattr(build, "fresh", lambda: not asked.append("whether it is made"))
    waiting = threading.Thread(target=build.build)
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    assert not asked
    os.close(other)
    waiting.join(60)
    assert asked == ["whether it is made"]


@pytest.mark.parametrize("module", ["ctl.compiled", "ctl.compiled.build"])
def test_help_is_given_and_nothing_done(module):
    done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "python -m ctl.compiled.build" in done.stdout


@pytest.mark.parametrize("module", ["ctl.compiled", "ctl.compiled.build"])
def test_what_it_does_not_know_is_refused(module):
    done = subprocess.run([sys.executable, "-m", module, "--fast"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "ctl.compiled.build" in done.stderr


def test_the_body_of_a_module_is_compiled_without_being_optimized(made, tmp_path):
    place = tmp_path / "compiled"
    place.mkdir()
    build._to_c(place)
    head, included = build._included(place / "build/__native_sip___made.c").splitlines()
    assert head == '__attribute__((optimize("O0"))) char CPyDef___top_level__(void);'
    assert included == '#include "__native_sip___made.c"'
