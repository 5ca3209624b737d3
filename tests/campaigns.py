# SPDX-License-Identifier: GPL-3.0-or-later
"""Campaigns: long commands that run all at once when every other test is through.

A test marked `campaign("tests.media.fuzzing", "--seconds", "30")` is asked last, when nobody is disturbed any more: a
session of processes has its share of the processors whatever its niceness (sched(7), autogroup). The first of them
starts the commands of all; those give way (SCHED_IDLE) to the ones with `hurried=True`, which wait for answers that
must come in time. The fixture `campaign` waits for a command's end. It belongs to a run of all tests; among those of a
folder it is left out, unless its file is named.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

ROOT = Path(__file__).parents[1]
LONGEST = 1800


@dataclass
class Running:
    """A command and the file of what it prints, on either output."""

    process: subprocess.Popen[bytes]
    printed: IO[bytes]

    def finish(self) -> str:
        """Wait for the end; return what was printed. A status other than 0 fails the test."""
        os.sched_setscheduler(self.process.pid, os.SCHED_OTHER, os.sched_param(0))  # nothing else is left to do
        status = self.process.wait(LONGEST)
        self.printed.seek(0)
        printed = self.printed.read().decode(errors="replace")
        assert status == 0, printed[-6000:]
        return printed

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.printed.close()


RUNNING = pytest.StashKey[dict[str, Running]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "campaign(module, *arguments, hurried=False): what runs when all other tests are through"
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    campaigns = [item for item in items if item.get_closest_marker("campaign")]
    wanted = [item for item in campaigns if is_wanted(config, item)]
    config.hook.pytest_deselected(items=[item for item in campaigns if item not in wanted])
    items[:] = [item for item in items if item not in campaigns] + wanted


def is_wanted(config: pytest.Config, item: pytest.Item) -> bool:
    return asks_all(config) or any(item.path.name in argument for argument in config.args)


def asks_all(config: pytest.Config) -> bool:
    """Whether no tests were named; one of several processes is told."""
    given = getattr(config, "workerinput", {})
    return bool(given.get("all", config.args_source is not pytest.Config.ArgsSource.ARGS))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["all"] = asks_all(node.config)


def pytest_sessionfinish(session: pytest.Session) -> None:
    for each in session.stash.get(RUNNING, {}).values():
        each.end()


@pytest.fixture
def campaign(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Waits for the command of the test's mark; returns what it printed."""
    session = request.session
    if RUNNING not in session.stash:
        session.stash[RUNNING] = start_all(session.items)
    return session.stash[RUNNING][request.node.nodeid].finish


def start_all(items: list[pytest.Item]) -> dict[str, Running]:
    marked = {item.nodeid: marker for item in items if (marker := item.get_closest_marker("campaign"))}
    return {name: start(*marker.args, **marker.kwargs) for name, marker in marked.items()}


def start(module: str, *arguments: str, hurried: bool = False) -> Running:
    printed = tempfile.TemporaryFile()  # noqa: SIM115 - held until Running.end
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=printed, stderr=printed,
                               start_new_session=True, preexec_fn=be_nice if hurried else give_way)  # fmt: skip
    return Running(process, printed)


def give_way() -> None:
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def be_nice() -> None:
    os.nice(10)
