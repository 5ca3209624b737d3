# SPDX-License-Identifier: GPL-3.0-or-later
"""Two workers without the kernel's help, on loopback: each passes on what is the other's, and both see each change."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from ctl.terminal.client import CommandError
from tests.ctl.running import Phone, ask, free_port, write_config

PATIENCE = 90.0


@pytest.fixture
def served():
    """The directory of a controller with two workers, and where it listens."""
    with tempfile.TemporaryDirectory(prefix="voxdp-workers-") as name:
        directory, listen = Path(name), f"127.0.0.1:{free_port()}"
        directory.chmod(0o711)
        file = write_config(directory, sip={"workers": 2, "listen": [listen]})
        log = (directory / "log").open("w+")
        process = subprocess.Popen([sys.executable, "-m", "ctl.cli", "-c", str(file), "run"], stderr=log)
        try:
            until(lambda: answers(directory))
            yield directory, listen
        finally:
            process.terminate()
            assert process.wait(60) == 0
            log.seek(0)
            assert "run voxdp attach" in log.read()
            log.close()


def answers(directory):
    try:
        ask(directory / "run", "user.list")
    except CommandError:
        return False
    return True


def until(true):
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.1)


def test_whoever_has_a_phone_both_know_it_and_another_key_locks_nobody_out(served):
    directory, listen = served
    run = directory / "run"
    names = [f"user{number:02}" for number in range(12)]
    for name in names[:3]:
        ask(run, "user.add", key=name, values={"password": name})
    assert ask(run, "db.rotate-key") >= 3
    for name in names[3:]:
        ask(run, "user.add", key=name, values={"password": name})
    for name in names:
        phone = Phone(name, listen)
        until(lambda phone=phone, name=name: phone.register(name).status == 200)
        phone.close()
    until(lambda: sorted(row["user"] for row in ask(run, "reg.list")) == names)
    status = ask(run, "sip.status")
    assert status["registered_users"] == len(names)
    assert status["handed"] > 0
    with pytest.raises(CommandError, match="no call"):
        ask(run, "call.show", id="nothing")
