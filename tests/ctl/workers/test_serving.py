# SPDX-License-Identifier: GPL-3.0-or-later
"""Two workers without the kernel's help, on loopback: each passes on what is the other's, and both see each change."""

import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from ctl.journal import read
from ctl.terminal.client import CommandError
from sip.digest import authorization, choose, ha1
from sip.steering import slot_of
from tests.ctl.running import Phone, ask, free_port, write_config

PATIENCE = 300.0


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
            assert process.wait(PATIENCE) == 0
            log.seek(0)
            assert "run voxdp attach" in log.read()
            log.close()


def answers(directory, seat="", verb="user.list"):
    try:
        ask(directory / "run" / seat, verb)
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


def test_every_worker_knows_a_user_once_that_was_added(served):
    directory, listen = served
    until(lambda: ask(directory / "run", "user.list") == [])
    for number in range(20):
        name = f"user{number}"
        ask(directory / "run", "user.add", key=name, values={"password": name})
        phone = Phone(name, listen)
        phone.call_id = next(id for n in range(99) if slot_of((id := f"{name}-{n}").encode()) % 2 == number % 2)
        assert phone.register(name).status == 200
        phone.close()


def test_credentials_hold_at_every_worker_once_and_for_one_that_was_killed(served):
    directory, listen = served
    ask(directory / "run", "user.add", key="anna", values={"password": "secret"})
    phone = Phone("anna", listen)
    at = [next(id for n in range(99) if slot_of((id := f"anna-{n}").encode()) % 2 == number) for number in range(2)]

    def register(worker: int, *credentials: tuple[str, str]):
        phone.call_id = at[worker]
        return phone.put(*credentials)

    def known() -> bool:
        phone.call_id = at[0]
        return phone.register("secret").status == 200

    until(known)
    chosen = choose(register(0).www_authenticate, ("SHA-256",))
    secret = ha1(chosen.algorithm, "anna", chosen.realm, "secret")
    counts = itertools.count(1)

    def credentials() -> tuple[str, str]:
        count = next(counts)
        uri = "sip:localhost"
        answer = authorization(chosen, "REGISTER", uri, "anna", ha1=secret, cnonce="c0ffee", nc=count)
        return "Authorization", answer

    used = [credentials() for _ in range(4)]
    for worker, each in zip((0, 1, 1, 0), used, strict=True):
        assert register(worker, each).status == 200
        (contact,) = read(directory / "state" / "live").of("bindings")["anna"]
        assert contact["cseq"] == phone.cseq, "what was answered is written down"

    def refused(worker: int, each: tuple[str, str]) -> bool:
        (answer, *_) = register(worker, each).www_authenticate
        return answer.params.get("stale") == "true"

    assert all(refused(worker, each) for worker in (0, 1) for each in used)
    victim = worker_process(directory, 1)
    os.kill(victim, signal.SIGKILL)
    until(lambda: worker_process(directory, 1) not in (0, victim) and answers(directory, "worker-2", "sip.status"))
    until(lambda: register(1, credentials()).status == 200)  # 503 before it has read the users
    assert all(refused(1, each) for each in used)
    phone.close()


def worker_process(directory, number):
    """The process id of a worker, 0 while there is none."""
    lock = directory / "run" / f"worker-{number + 1}" / "run.lock"
    return int(lock.read_text() or 0) if lock.exists() else 0
