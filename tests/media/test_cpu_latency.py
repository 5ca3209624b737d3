# SPDX-License-Identifier: GPL-3.0-or-later
"""Processors are kept from deep sleep while there are flows, by the real device.

What is read of it is the host's bound, the least of all that are held.
"""

import errno
import fcntl
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from media import opener_process
from media.client import EngineProcess
from media.cpu_latency import LINGER, UNBOUNDED, CpuLatency, trouble
from media.flows import EngineLatency
from media.requests import Requests
from media.wire_opener import LATENCY_DEVICE, OpenerSettings, ask_latency_device

HELD, MORE = 1_234, 4_321
"""Microseconds, less than which nobody else asks for while the tests run."""
NOBODY = 65534
PATIENCE = 30.0
ROOT = Path(__file__).resolve().parents[2]
NOWHERE = Path("/nowhere")
NOT_OURS = (
    "the engine may not open /dev/cpu_dma_latency, and nobody does it for it; "
    "run: voxdp attach, or: chown {uid} /dev/cpu_dma_latency"
)
POWERLESS = """
import os, sys
import media.process
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.exit(media.process.main(sys.argv[1:]))
"""
ALONE = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from media.cpu_latency import CpuLatency
latency = CpuLatency()
first = latency.want(20, Path("/nowhere"))
latency.turn(True, 0.0)
print(json.dumps([asdict(first), asdict(latency.want(20, Path("/nowhere")))]))
"""


def host_bound():
    """Microseconds."""
    with LATENCY_DEVICE.open("rb") as device:
        return struct.unpack("=i", device.read(4))[0]


def has_open(pid):
    """Whether a process has the device."""
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed since
            found.append(entry.readlink())
    return LATENCY_DEVICE in found


@pytest.fixture(autouse=True)
def unbounded():
    """What others hold would hide ours. Of tests that run beside this one, each waits for its turn."""
    if not LATENCY_DEVICE.exists():
        pytest.fail(
            f"there is no {LATENCY_DEVICE}: the kernel has no CONFIG_CPU_IDLE, or the container lacks the device"
        )
    with turn_taken():
        if host_bound() <= MORE:
            pytest.fail(f"a bound of {host_bound()} µs is held already; fuser {LATENCY_DEVICE} tells by whom")
        yield


@contextmanager
def turn_taken():
    lock = os.open(LATENCY_DEVICE.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        until(lambda: locked(lock))
        yield
    finally:
        os.close(lock)


def locked(lock):
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@pytest.fixture
def latency():
    latency = CpuLatency()
    yield latency
    latency.want(UNBOUNDED, NOWHERE)


@pytest.fixture
def public_directory():
    """One that other users may enter, as they may not enter pytest's."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o777)
        yield Path(path)


def test_the_bound_is_held_while_there_are_flows_and_for_some_seconds_after(latency):
    assert latency.want(HELD, NOWHERE) == EngineLatency(held=False, trouble="")
    latency.turn(False, 100.0)
    assert host_bound() > MORE, "the device is open, and nothing is bounded"
    latency.turn(True, 101.0)
    assert (host_bound(), latency.want(HELD, NOWHERE).held) == (HELD, True)
    latency.turn(True, 150.0)
    latency.turn(False, 150.0 + LINGER - 0.1)
    assert host_bound() == HELD
    latency.turn(False, 150.0 + LINGER)
    assert (host_bound() > MORE, latency.want(HELD, NOWHERE).held) == (True, False)
    latency.turn(True, 200.0)
    assert host_bound() == HELD


def test_another_bound_takes_the_place_of_the_one_that_is_held(latency):
    latency.want(HELD, NOWHERE)
    latency.turn(True, 0.0)
    assert latency.want(MORE, NOWHERE) == EngineLatency(held=True, trouble="")
    assert host_bound() == MORE
    assert latency.want(UNBOUNDED, NOWHERE) == EngineLatency(held=False, trouble="")
    assert host_bound() > MORE
    assert not has_open(os.getpid())
    latency.turn(True, 0.1)
    assert not has_open(os.getpid())


def test_values_that_are_no_bound_are_refused(engine):
    requests = Requests(engine)
    for microseconds in (-2, 2_000_000_001, 1 << 40, True, "0", None):
        message = {"op": "want-cpu-latency", "microseconds": microseconds, "opener": "/nowhere"}
        reply = json.loads(requests.answer(json.dumps(message).encode()))
        assert (reply["ok"], "microseconds" in reply["text"]) == (False, True)
    assert not has_open(os.getpid())


def test_an_engine_bounds_it_for_its_calls_and_takes_it_with_it_when_it_is_killed(process, call):
    client = process.client
    assert client.want_cpu_latency(HELD, NOWHERE) == EngineLatency(held=False, trouble="")
    assert host_bound() > MORE
    call.open(client)
    until(lambda: client.want_cpu_latency(HELD, NOWHERE).held)
    assert host_bound() == HELD
    assert has_open(process.pid)
    assert not any(map(has_open, client.summary().processes))
    os.kill(client.summary().processes[0], 9)
    until(lambda: client.summary().restarts == 1)
    assert not any(map(has_open, client.summary().processes))
    os.kill(process.pid, 9)
    until(lambda: not process.alive() and host_bound() > MORE)


def test_one_that_may_not_open_it_asks_who_may_once_and_for_all(public_directory, call):
    python = public_directory / "python"
    python.write_text(f"#!/bin/sh\nshift 3\nexec {sys.executable} -P -c '{POWERLESS}' \"$@\"\n")
    python.chmod(0o755)
    process = EngineProcess.ensure(
        public_directory / "engine", python=str(python), arguments=["--workers", "1"], timeout=10
    )
    client, opener = process.client, public_directory / "xsk.sock"
    settings = OpenerSettings(opener, (), NOBODY, NOBODY, cpu_latency=True)
    try:
        assert client.want_cpu_latency(HELD, opener) == EngineLatency(False, NOT_OURS.format(uid=NOBODY))
        pid = opener_process.start(settings, public_directory / "xsk.log")
        assert capabilities(pid) == 0, "without AF_XDP it needs none at all"
        assert client.want_cpu_latency(HELD, opener) == EngineLatency(held=False, trouble="")
        assert has_open(process.pid)
        until(lambda: not has_open(pid))  # else the bound would outlive the engine
        opener_process.stop(opener)
        call.open(client)
        until(lambda: client.want_cpu_latency(HELD, opener).held)
        assert host_bound() == HELD
    finally:
        opener_process.stop(opener)
        process.stop()
        process.close()
    assert host_bound() > MORE


def test_each_who_asks_has_a_bound_of_his_own_and_nobody_unless_it_was_told_so(public_directory):
    opener = public_directory / "xsk.sock"
    opener_process.start(OpenerSettings(opener, (), NOBODY, NOBODY, cpu_latency=True), public_directory / "log")
    try:
        first, second = (ask_latency_device(opener) for _ in range(2))
        for device, bound in (first, MORE), (second, HELD):
            os.write(device, struct.pack("=i", bound))
        assert host_bound() == HELD
        os.close(second)
        until(lambda: host_bound() == MORE)
        os.close(first)
        until(lambda: host_bound() > MORE)
        opener_process.start(OpenerSettings(opener, ("lo",), NOBODY, NOBODY), public_directory / "log")
        assert ask_latency_device(opener) == -errno.EACCES
    finally:
        opener_process.stop(opener)
    assert ask_latency_device(opener) == -errno.EPERM


@pytest.mark.parametrize(
    ("meddle", "first", "then"),
    [
        (
            "mount -t tmpfs none /dev",
            "there is no /dev/cpu_dma_latency; give it to the container, or set media.cpu_dma_latency to -1",
            "there is no /dev/cpu_dma_latency; give it to the container, or set media.cpu_dma_latency to -1",
        ),
        ("mount --bind /dev/full /dev/cpu_dma_latency", "", "/dev/cpu_dma_latency: No space left on device"),
    ],
)
def test_a_device_that_is_not_there_or_fails_is_told_in_one_line(meddle, first, then):
    script = f'{meddle} && exec "$0" -c "$1"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, sys.executable, ALONE],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert json.loads(done.stdout) == [{"held": False, "trouble": each} for each in (first, then)]


def test_every_error_has_its_words():
    assert trouble(errno.EPERM, 7) == NOT_OURS.format(uid=7)
    assert trouble(errno.EMFILE, 7) == "/dev/cpu_dma_latency: Too many open files"


def until(condition):
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < PATIENCE
        time.sleep(0.01)


def capabilities(pid):
    (line,) = [each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("CapEff:")]
    return int(line.split()[1], 16)
