# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine as a process: started, adopted, surviving its controller, and ending when told."""

import os
import select
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

import pytest

from media.client import EngineClient, EngineProcess
from media.flows import EngineError
from tests.patience import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534

# Imports come before the user is changed: the checkout may be readable by its owner only.
DROP = """
import os, socket, sys
import media.process
os.setgroups([]); os.setgid(65534); os.setuid(65534)
"""
ENGINE_MAIN = DROP + "sys.exit(media.process.main(sys.argv[1:]))"
ASK = """
asking = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
asking.connect(sys.argv[1])
asking.settimeout(60)
try:
    asking.send(b'{"op": "ping"}')
    print(asking.recv(100) or "cut off")
except (BrokenPipeError, ConnectionResetError):
    print("cut off")
"""
FEW_FILES = """
import resource, sys
import media.process
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
sys.exit(media.process.main(sys.argv[1:]))
"""

CONTROLLER = """
import sys, time
from pathlib import Path
from media.client import EngineProcess
from media.flows import EngineFlow
a, b = ("127.77.1.9", 4000), ("127.77.2.9", 4000)
process = EngineProcess.ensure(Path(sys.argv[1]), timeout=60)
process.client.set_pair(EngineFlow("127.77.0.9", 30000, *a, *b), EngineFlow("127.77.0.9", 30002, *b, *a))
print(process.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def public_directory():
    """One that other users may enter, as they may not enter pytest's."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o711)
        yield Path(path)


def run_controller(path):
    return subprocess.Popen([sys.executable, "-c", CONTROLLER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def status_field(pid, name):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return line.split(":", 1)[1].split()
    raise AssertionError(name)


def test_carries_calls(process, call, rtp, settled):
    call.open(process.client)
    call.a.send(rtp(), call.facing_a.key)
    assert call.b.receive() == (rtp(), call.facing_b.key)
    assert settled(process.client, call.facing_a, 1).packets == 1
    assert process.client.list() == (call.facing_a.key, call.facing_b.key)
    assert process.client.summary().reasons == {"forwarded": (1, 172)}
    assert len(process.client.remove([call.facing_a.key])) == 2
    assert process.client.list() == ()


def test_errors_come_through_as_they_are(process, call, make_peer):
    make_peer(*call.facing_a.key)
    with pytest.raises(EngineError, match=r"127\.77\.0\.1:30000: another socket has this port") as caught:
        call.open(process.client)
    assert caught.value.code == "port-in-use"


def test_socket_is_the_owners_alone(process):
    assert stat.S_IMODE(process.client.path.stat().st_mode) == 0o600
    assert process.client.ping() == process.pid == process.client.process()


def test_other_users_are_cut_off(public_directory):
    """Even where the file's mode was opened wide."""
    process = EngineProcess.ensure(public_directory / "engine", timeout=PATIENCE)
    try:
        os.chmod(process.client.path, 0o666)
        outcome = subprocess.run(
            [sys.executable, "-c", DROP + ASK, str(process.client.path)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert outcome.stdout == "cut off\n", outcome
        assert process.client.ping() == process.pid
    finally:
        process.stop()
        process.close()


def test_no_core_dump_and_no_new_privileges(process):
    limits = Path(f"/proc/{process.pid}/limits").read_text()
    (core,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
    assert core.split()[4:6] == ["0", "0"]
    assert status_field(process.pid, "NoNewPrivs") == ["1"]


def test_without_any_privilege(public_directory, call, rtp):
    os.chown(public_directory, NOBODY, NOBODY)
    path = public_directory / "engine"
    reader, writer = os.pipe()
    command = [sys.executable, "-c", ENGINE_MAIN, "--socket", str(path), "--ready", str(writer)]
    with subprocess.Popen(command, pass_fds=[writer], cwd=ROOT) as engine:
        os.close(writer)
        assert os.read(reader, 100) == b"ready\n"
        os.close(reader)
        assert status_field(engine.pid, "Uid") == [str(NOBODY)] * 4
        assert [int(status_field(engine.pid, f"Cap{s}")[0], 16) for s in ("Eff", "Prm", "Inh", "Amb")] == [0] * 4
        with EngineClient(path) as client:
            call.open(client)
            call.a.send(rtp(), call.facing_a.key)
            assert call.b.receive()[0] == rtp()
            client.shutdown()
        assert engine.wait(PATIENCE) == 0


def test_outlives_a_killed_controller_and_is_adopted(tmp_path, make_peer, rtp):
    a, b = make_peer("127.77.1.9", 4000), make_peer("127.77.2.9", 4000)
    with run_controller(tmp_path / "engine") as controller:
        pid = int(controller.stdout.readline())
        sent, stop = [], threading.Event()

        def talk():
            while not stop.is_set():
                a.send(rtp(len(sent)), ("127.77.0.9", 30000))
                sent.append(1)
                time.sleep(0.002)

        talking = threading.Thread(target=talk)
        talking.start()
        time.sleep(0.2)
        controller.send_signal(signal.SIGKILL)
        controller.wait()
        time.sleep(0.2)
        process = EngineProcess.ensure(tmp_path / "engine", timeout=PATIENCE)
        try:
            assert (process.pid, process.adopted) == (pid, True)
            time.sleep(0.1)
            stop.set()
            talking.join()
            for i in range(len(sent)):
                assert b.receive()[0] == rtp(i)
            (statistics,) = process.client.read([("127.77.0.9", 30000)])
            assert (statistics.packets, statistics.lost) == (len(sent), 0)
        finally:
            stop.set()
            process.stop()
            process.close()


def test_second_engine_is_refused(process):
    command = [sys.executable, "-P", "-m", "media.process", "--socket", str(process.client.path)]
    outcome = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=PATIENCE)
    assert outcome.returncode == 1
    assert "another engine has" in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert process.client.ping() == process.pid


def test_stale_socket_is_replaced(tmp_path):
    path = tmp_path / "engine"
    first = EngineProcess.ensure(path, timeout=PATIENCE)
    os.kill(first.pid, signal.SIGKILL)
    assert select.select([first], [], [], 5)[0]
    assert not first.alive()
    first.close()
    assert path.exists()
    second = EngineProcess.ensure(path, timeout=PATIENCE)
    assert not second.adopted
    assert second.client.ping() == second.pid
    second.stop()
    second.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_nothing_is_left(tmp_path, number):
    process = EngineProcess.ensure(tmp_path / "engine", timeout=PATIENCE)
    assert process.alive()
    os.kill(process.pid, number)
    assert select.select([process], [], [], 5)[0]
    assert not process.alive()
    process.close()
    assert list(tmp_path.iterdir()) == []


def test_shutdown_ends_it_and_the_client_notices(tmp_path):
    process = EngineProcess.ensure(tmp_path / "engine", timeout=PATIENCE)
    process.client.shutdown()
    assert select.select([process], [], [], 5)[0]
    with pytest.raises(EngineError, match="no engine answers") as caught:
        process.client.ping()
    assert caught.value.code == "gone"
    process.stop()
    process.close()


def test_a_stopped_engine_is_given_up_in_time(process):
    client = EngineClient(process.client.path, timeout=0.2)
    os.kill(process.pid, signal.SIGSTOP)
    crowd = []
    try:
        with pytest.raises(EngineError, match=r"silent for 0\.2 s") as caught:
            client.ping()
        assert caught.value.code == "gone"
        with pytest.raises(BlockingIOError):
            crowd.extend(iter(lambda: connect(process, blocking=False), None))
        with pytest.raises(EngineError, match=r"silent for 0\.2 s"):
            client.ping()
    finally:
        os.kill(process.pid, signal.SIGCONT)
        for one in crowd:
            one.close()
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with suppress(EngineError):
            assert client.ping() == process.pid
            break
    else:
        pytest.fail("no answer after it went on")
    client.close()


def test_controllers_that_start_together_share_one_engine(tmp_path):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(EngineProcess.ensure(tmp_path / "engine", timeout=PATIENCE)))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({process.pid for process in found}) == 1
    found[0].stop()
    for process in found:
        process.close()


@pytest.mark.parametrize("arguments", [("--workers", "65"), ("--flows", "1")])
def test_what_cannot_start_says_why(tmp_path, arguments):
    with pytest.raises(EngineError, match=r"the engine did not start: .*(workers|flows)") as caught:
        EngineProcess.ensure(tmp_path / "engine", arguments=arguments, timeout=PATIENCE)
    assert "\n" not in str(caught.value)


def test_no_directory(tmp_path):
    with pytest.raises(EngineError, match="is its directory ours"):
        EngineProcess.ensure(tmp_path / "nowhere" / "engine", timeout=PATIENCE)


def test_too_few_open_files(tmp_path):
    outcome = subprocess.run(
        [sys.executable, "-c", FEW_FILES, "--socket", str(tmp_path / "engine")],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert outcome.stderr == "voxdp engine: only 100 open files allowed; raise LimitNOFILE or ulimit -Hn\n"


def connect(process, blocking=True):
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connected.setblocking(blocking)
    try:
        connected.connect(str(process.client.path))
    except BlockingIOError:
        connected.close()
        raise
    connected.settimeout(PATIENCE)
    return connected


def test_who_sends_too_much_is_cut_off(process):
    with connect(process) as large:
        large.send(b"x" * 70000)
        assert large.recv(10) == b""
    assert process.client.ping() == process.pid


def test_who_reads_no_replies_is_cut_off(process):
    with connect(process) as silent:
        requests = iter(lambda: silent.send(b'{"op":"stats"}'), None)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            deque(requests, maxlen=0)
    assert process.client.ping() == process.pid


def test_a_crowd_does_not_lock_the_controller_out_for_good(process):
    process.client.ping()
    crowd = [connect(process) for _ in range(40)]
    assert process.client.ping() == process.pid
    for one in crowd:
        one.close()
    with EngineClient(process.client.path) as later:
        assert later.ping() == process.pid


def test_an_engine_without_flows_sleeps_and_its_workers_too(engine_process, call):
    """A beat of ten times a second, as while there are flows, would be ten of each process."""
    process = engine_process("--workers", "2")
    processes = [process.pid, *process.client.summary().processes]
    time.sleep(0.3)
    before, began = [wakings(each) for each in processes], time.monotonic()
    time.sleep(1.5)
    woken = [after - former for after, former in zip(map(wakings, processes), before, strict=True)]
    assert max(woken) <= 2 * (time.monotonic() - began)
    call.open(process.client)
    before = [wakings(each) for each in processes]
    time.sleep(1.5)
    assert all(after - former >= 5 for after, former in zip(map(wakings, processes), before, strict=True))


def wakings(pid):
    """How often a process has gone to sleep."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("voluntary_ctxt_switches:")[2].split()[0])
