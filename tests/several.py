# SPDX-License-Identifier: GPL-3.0-or-later
"""Several processes share the tests (`pytest -n 4 --dist loadscope`, as scripts/test has it) and none harms another.

Each has a network and a /run of its own, so that equal ports, interfaces and labs do not meet. What is dealt out is a
file, of the lab a test; a mark xdist_group keeps tests together that share more. Phones of the lab mostly wait: half
of the processes take those first, the others what needs the processors. The first process ends with what asks for the
campaigns (tests/campaigns.py), and then with the tests marked `alone`, which measure time and run while no other does.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.isolation import die_with_parent, live_apart

LAB = "tests/lab/"
LAST = "last"
SHARED = pytest.StashKey[Any]()
"""An open file with the units of tests; a process that has tests to run shares its lock, one that measures holds it."""


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Deals out the units that the processes have told."""

    def schedule(self) -> None:
        self._units = json.loads(Path(self.config.stash[SHARED].name).read_bytes())
        super().schedule()

    def _split_scope(self, nodeid: str) -> str:
        return str(self._units[nodeid])

    def _assign_work_unit(self, node: Any) -> None:
        units = [unit for unit in self.workqueue if unit != LAST]
        if not units and node is min(self.nodes, key=number_of):
            units = [*self.workqueue]
        if not units:
            node.shutdown()
            return
        waiting = number_of(node) % 2 == 0
        chosen = next((unit for unit in units if unit.startswith(LAB) == waiting), units[0])
        self.workqueue.move_to_end(chosen, last=False)
        super()._assign_work_unit(node)


def number_of(node: Any) -> int:
    return int(node.gateway.id.removeprefix("gw"))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "alone: measures time, and runs beside no other test")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling | None:
    return Scheduling(config, log) if config.getvalue("dist") == "loadscope" else None


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """In the process that deals out: tell the one that is about to start which file is theirs together."""
    if SHARED not in node.config.stash:
        node.config.stash[SHARED] = tempfile.NamedTemporaryFile(prefix="voxdp-tests-")  # noqa: SIM115
    node.workerinput["shared"] = node.config.stash[SHARED].name


def pytest_sessionstart(session: pytest.Session) -> None:
    if given := getattr(session.config, "workerinput", None):
        die_with_parent()
        if os.geteuid() == 0:
            live_apart()
        session.config.stash[SHARED] = shared = open(given["shared"], "r+b", 0)  # noqa: SIM115
        fcntl.flock(shared, fcntl.LOCK_SH)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Others may measure now; the process itself stays until all have ended."""
    if shared := session.config.stash.get(SHARED, None):
        shared.close()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if SHARED in config.stash:
        tests = Counter(item.path for item in items)
        items.sort(key=lambda item: tests[item.path])  # where few are in a file they are long: those first


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Tell the units, before xdist tells that they can be read; all processes write the same."""
    if shared := session.config.stash.get(SHARED, None):
        shared.write(json.dumps({item.nodeid: unit_of(item) for item in session.items}).encode())


def unit_of(item: pytest.Item) -> str:
    if item.get_closest_marker("alone") or item.get_closest_marker("campaign"):
        return LAST
    path = item.nodeid.partition("::")[0]
    whole = item.get_closest_marker("xdist_group") or not path.startswith(LAB)
    return path if whole else item.nodeid


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    if item.get_closest_marker("alone") and (shared := item.config.stash.get(SHARED, None)):
        fcntl.flock(shared, fcntl.LOCK_EX)
    return (yield)
