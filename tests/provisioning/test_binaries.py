# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from provisioning.binaries import find_binaries
from provisioning.errors import DatabaseUnavailable


def install(root: Path, major: int, *, says: str | None = None) -> Path:
    directory = root / str(major) / "bin"
    directory.mkdir(parents=True)
    for name in ("postgres", "initdb"):
        (directory / name).write_text(f"#!/bin/sh\necho '{says or f'postgres (PostgreSQL) {major}.1'}'\n")
        (directory / name).chmod(0o755)
    return directory


def test_takes_the_newest_by_number(tmp_path: Path) -> None:
    for major in (15, 9, 17, 16):
        install(tmp_path, major)
    assert find_binaries(root=tmp_path).major == 17


def test_an_existing_cluster_decides(tmp_path: Path) -> None:
    install(tmp_path, 15)
    install(tmp_path, 17)
    assert find_binaries(wanted=15, root=tmp_path).program("initdb") == str(tmp_path / "15/bin/initdb")


def test_a_configured_directory_comes_first(tmp_path: Path) -> None:
    install(tmp_path, 17)
    configured = install(tmp_path / "own", 16, says="postgres (PostgreSQL) 16.4 (Debian 16.4-1)")
    assert find_binaries(configured, root=tmp_path).major == 16


@pytest.mark.parametrize(
    ("installed", "wanted", "message"),
    [
        ([], None, "not installed: run: apt-get install postgresql-15"),
        ([13, 14], None, "PostgreSQL 14 installed is too old, 15 or later is needed: run: apt-get install"),
        ([15], 16, "made by PostgreSQL 16, but .* holds 15: run: apt-get install postgresql-16; to move on, dump"),
    ],
)
def test_names_what_to_install(tmp_path: Path, installed: list[int], wanted: int | None, message: str) -> None:
    for major in installed:
        install(tmp_path, major)
    with pytest.raises(DatabaseUnavailable, match=message):
        find_binaries(wanted=wanted, root=tmp_path)


def test_refuses_a_configured_directory_without_a_server(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"no postgres and initdb in .*: correct database\.binaries"):
        find_binaries(tmp_path)
    with pytest.raises(DatabaseUnavailable, match="is not PostgreSQL's server"):
        find_binaries(install(tmp_path, 15, says="hello"))
