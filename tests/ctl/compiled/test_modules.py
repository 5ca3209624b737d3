# SPDX-License-Identifier: GPL-3.0-or-later
from pathlib import Path

import pytest

from ctl.compiled import modules


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Sources of a few modules, and a library that was made of them."""
    monkeypatch.setattr(modules, "ROOT", tmp_path)
    monkeypatch.setattr(modules, "LIBRARY", tmp_path / "library.so")
    monkeypatch.setattr(modules, "STAMP", tmp_path / "stamp")
    for name in (*modules._MAKERS, *modules._FURTHER, "sip.call", "sip.uri"):
        modules.source(name).parent.mkdir(parents=True, exist_ok=True)
        modules.source(name).write_text("answer = 42\n")
    modules.LIBRARY.touch()
    modules.STAMP.write_text(modules.digest())
    return tmp_path


def test_a_library_serves_the_sources_that_it_was_made_of(checkout):
    assert modules.fresh()


@pytest.mark.parametrize("name", ["sip.uri", "sip.facts", "ctl.compiled.expand"])
def test_and_no_others(checkout, name):
    modules.source(name).write_text("answer = 43\n")
    assert not modules.fresh()


def test_nor_where_there_are_more_or_less_of_them(checkout):
    (checkout / "sip/new.py").touch()
    assert not modules.fresh()
    (checkout / "sip/new.py").unlink()
    assert modules.fresh()
    modules.source("sip.call").unlink()
    assert not modules.fresh()


@pytest.mark.parametrize("lost", ["LIBRARY", "STAMP"])
def test_nor_without_its_stamp(checkout, lost):
    getattr(modules, lost).unlink()
    assert not modules.fresh()


def test_every_module_has_a_source():
    assert len(modules.modules()) > 60
    assert all(modules.source(name).exists() for name in modules.modules())
    assert modules.source("sip.core") == Path(modules.HERE).parents[1] / "sip/core.py"
