# SPDX-License-Identifier: GPL-3.0-or-later
"""Verbs of the command line that change users: when one has answered, signalling goes by it."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ctl.config import load
from ctl.verbs.objects import KNOWN_SECONDS
from tests.ctl.running import Phone, ask, running, write_config

Change = Callable[..., Any]

pytestmark = pytest.mark.alone  # a change is answered before it is known where that takes a second


@pytest.fixture(scope="module")
def served(open_directory: Callable[[], Path]) -> Iterator[Path]:
    """The configuration file of a controller that runs."""
    file = write_config(open_directory())
    with running(file):
        yield file


@pytest.fixture
def phone(served: Path) -> Iterator[Phone]:
    phone = Phone("anna", load(served).sip.listen[0])
    yield phone
    phone.close()


@pytest.fixture
def change(served: Path) -> Change:
    """Ask for a change of anna; what it returns is what the controller answered."""
    return lambda verb, **values: ask(served.parent / "run", verb, key="anna", values=values)


@pytest.mark.parametrize("algorithm", ["SHA-256", "MD5"])
def test_a_change_of_a_user_is_known_once_it_is_answered(change: Change, phone: Phone, algorithm: str) -> None:
    for turn in range(5):
        change("user.add", password="first")
        assert phone.register("first", algorithm).status == 200, turn
        change("user.set", password="second")
        assert (phone.register("first", algorithm).status, phone.register("second", algorithm).status) == (401, 200)
        change("user.set", enabled=False)
        assert phone.register("second", algorithm).status != 200
        change("user.set", enabled=True)
        assert phone.register("second", algorithm).status == 200
        change("user.delete")
        assert phone.register("second", algorithm).status != 200


def test_both_algorithms_are_offered_and_the_stronger_first(phone: Phone) -> None:
    offered = [value.params["algorithm"] for value in phone.put().www_authenticate]
    assert offered == ["SHA-256", "MD5"]


def test_a_change_of_nothing_is_not_waited_for(change: Change) -> None:
    change("user.add", password="first")
    change("user.set", enabled=False)
    began = time.monotonic()
    change("user.set", enabled=False)
    change("user.set", password="first")
    change("user.set", enabled=True)
    change("user.set", enabled=True)
    assert time.monotonic() - began < KNOWN_SECONDS
    change("user.delete")


def test_a_change_of_a_plan_is_known_and_one_that_routing_does_not_know_is_not_waited_for(served: Path) -> None:
    began = time.monotonic()
    for verb in ("add", "delete"):
        for kind, values in (("trunk", {"host": "h"}), ("skill", {}), ("restriction", {"prefix": "53"})):
            ask(served.parent / "run", f"{kind}.{verb}", key="x", values=values)
    assert time.monotonic() - began < KNOWN_SECONDS
