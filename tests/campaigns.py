# SPDX-License-Identifier: GPL-3.0-or-later
"""Campaigns: long commands that run beside all tests, on what these leave of the processors.

A test marked `campaign("tests.media.fuzzing", "--seconds", "30")` has this command started before any other test, and
itself is asked when these are through, but for the ones that measure; its fixture `campaign` waits for the command's
end. What gives way is a command's whole session, as niceness alone ends there (sched(7), autogroup); a campaign with
`hurried=True` gives way less, as it waits for answers that must come in time. Each has a network and a /run of its own.

Campaigns belong to a run of all tests; among those of a folder one is left out, unless its file is named.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from tests.isolation import die_with_parent, live_apart

ROOT = Path(__file__).parents[1]
LONGEST = 1800
LAST, HURRIED, FIRST = 19, 10, 0
"""Niceness of sessions: of a campaign, of one that is hurried, of everything else."""


@dataclass
class Running:
    """A command and the files of what it prints: its results, and what it says beside them."""

    process: subprocess.Popen[bytes]
    printed: IO[bytes]
    said: IO[bytes]

    def finish(self) -> str:
        """Wait for the end; return what was printed as result. A status other than 0 fails the test."""
        status = self.process.wait(LONGEST)
        printed = read(self.printed)
        assert status == 0, outcome(printed, read(self.said))
        return printed

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.printed.close()
        self.said.close()


def outcome(printed: str, said: str) -> str:
    """The end of all that was said, below the names of what failed where the command is tests of its own."""
    failed = [line for line in printed.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return "\n".join([*failed, (printed + said)[-6000:]])


def read(printed: IO[bytes]) -> str:
    printed.seek(0)
    return printed.read().decode(errors="replace")


RUNNING = pytest.StashKey[dict[str, Running]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "campaign(module, *arguments, hurried=False): a command that runs beside all other tests"
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Campaigns behind all tests but those that measure time, which need the processors."""
    campaigns = [item for item in items if item.get_closest_marker("campaign")]
    wanted = [item for item in campaigns if is_wanted(config, item)]
    config.hook.pytest_deselected(items=[item for item in campaigns if item not in wanted])
    others = [item for item in items if item not in campaigns]
    items[:] = sorted(others + wanted, key=rank)


def rank(item: pytest.Item) -> int:
    return 2 if item.get_closest_marker("alone") else 1 if item.get_closest_marker("campaign") else 0


def is_wanted(config: pytest.Config, item: pytest.Item) -> bool:
    return asks_all(config) or any(item.path.name in argument for argument in config.args)


def asks_all(config: pytest.Config) -> bool:
    """Whether no tests were named; one of several processes is told."""
    given = getattr(config, "workerinput", {})
    return bool(given.get("all", config.args_source is not pytest.Config.ArgsSource.ARGS))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["all"] = asks_all(node.config)


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Any:
    """Start the commands in the first of several processes, which asks for them in the end."""
    first = getattr(session.config, "workerinput", {}).get("workerid", "gw0") == "gw0"
    if first and not session.config.option.collectonly:
        session.stash[RUNNING] = start_all(session.items)
    return (yield)


def pytest_sessionfinish(session: pytest.Session) -> None:
    for each in session.stash.get(RUNNING, {}).values():
        each.end()


@pytest.fixture
def campaign(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Waits for the command of the test's mark; returns what it printed."""
    session = request.session
    if RUNNING not in session.stash:  # the first process was lost, and another one has its place
        session.stash[RUNNING] = start_all(session.items)
    for each in session.stash[RUNNING].values():
        hurry(each.process)
    return session.stash[RUNNING][request.node.nodeid].finish


def start_all(items: list[pytest.Item]) -> dict[str, Running]:
    marked = {item.nodeid: marker for item in items if (marker := item.get_closest_marker("campaign"))}
    return {name: start(*marker.args, **marker.kwargs) for name, marker in marked.items()}


def start(*command: str, hurried: bool = False) -> Running:
    printed, said = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 - held until Running.end
    line = [sys.executable, "-m", "tests.campaigns", str(HURRIED if hurried else LAST), *command]
    process = subprocess.Popen(line, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=printed, stderr=said,
                               start_new_session=True)  # fmt: skip
    return Running(process, printed, said)


def hurry(process: subprocess.Popen[bytes]) -> None:
    """Nothing else is left to do."""
    with suppress(FileNotFoundError, ProcessLookupError):
        weigh(process.pid, FIRST)


def weigh(process: int, niceness: int) -> None:
    """Set the weight of a process's session."""
    Path(f"/proc/{process}/autogroup").write_text(str(niceness))


def main(niceness: int, *command: str) -> None:
    """Become `python -m COMMAND`, nice, and apart."""
    die_with_parent()
    with suppress(FileNotFoundError):  # where sessions have no weight, that of processes tells
        weigh(os.getpid(), niceness)
    os.nice(niceness)
    if os.geteuid() == 0:
        live_apart()
    os.execv(sys.executable, [sys.executable, "-m", *command])


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
