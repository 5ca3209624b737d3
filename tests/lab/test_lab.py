# SPDX-License-Identifier: GPL-3.0-or-later
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vm import leftovers, namespace
from vm.lab import Interrupted, Lab
from vm.process import PATIENCE, LabError, inside, run
from vm.topology import add_address

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, time
from vm.lab import Lab
with Lab("two") as lab:
    lab.spawn(lab.relay, "sleep", "1000")
    print(lab.name, flush=True)
    time.sleep(1000)
"""


def traces(name):
    """Whatever is left of a lab anywhere on the host."""
    namespaces = [entry for entry in os.listdir("/run/netns") if entry.startswith(name)]
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if name in line]
    commands = [command_of(path) for path in Path("/proc").glob("[0-9]*/cmdline")]
    directory = leftovers.LABS / name
    return namespaces + mounts + [c for c in commands if name.encode() in c] + [directory] * directory.exists()


def command_of(path):
    try:
        return path.read_bytes()
    except OSError:  # it has ended since
        return b""


def hold():
    """A lab in a process of its own: (process, name)."""
    child = subprocess.Popen([sys.executable, "-c", HOLD], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    return child, child.stdout.readline().strip()


def exchange(lab, source, target):
    """Send one datagram between (namespace, address) pairs and return who the receiver thinks sent it."""
    with (
        namespace.datagram_socket(source[0], (source[1], 4000)) as near,
        namespace.datagram_socket(target[0], (target[1], 4001)) as far,
    ):
        far.settimeout(PATIENCE)
        near.sendto(b"hello", (target[1], 4001))
        return far.recvfrom(100)[1][0]


@pytest.mark.parametrize("shape", ["one", "two"])
def test_each_endpoint_reaches_the_relay_and_back(shape):
    with Lab(shape) as lab:
        for endpoint in (lab.a, lab.b):
            there, back = (endpoint.namespace, endpoint.address), (lab.relay, endpoint.relay)
            assert exchange(lab, there, back) == endpoint.address
            assert exchange(lab, back, there) == endpoint.relay


def test_the_networks_meet_in_nothing_but_the_relay(two):
    with pytest.raises(TimeoutError):
        exchange(two, (two.a.namespace, two.a.address), (two.b.namespace, two.b.address))


def test_endpoints_have_xdp_and_finish_their_checksums(two):
    for endpoint in (two.a, two.b):
        assert " xdp " in run(*inside(endpoint.namespace, ["ip", "link", "show", endpoint.interface]))
        features = run(*inside(endpoint.namespace, ["ethtool", "-k", endpoint.interface]))
        assert "tx-checksumming: off" in features


def test_a_second_address_can_be_added(two):
    add_address(two.a, "198.18.1.66")
    assert exchange(two, (two.a.namespace, "198.18.1.66"), (two.relay, two.a.relay)) == "198.18.1.66"


def test_nothing_is_left_after_an_exception():
    lab = Lab("one")
    with contextlib.suppress(ZeroDivisionError), lab:
        lab.spawn(lab.relay, "sleep", "1000")
        (lab.bpffs / "kept").mkdir()
        raise ZeroDivisionError
    assert traces(lab.name) == []


def test_processes_that_outlive_their_parent_are_ended():
    with Lab("two") as lab:
        lab.spawn(lab.relay, "setsid", "--fork", "sleep", "1000").wait(PATIENCE)
        assert namespace.processes(lab.relay)
    assert traces(lab.name) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_lab_with_nothing_left(number):
    child, name = hold()
    child.send_signal(number)
    child.wait(PATIENCE)
    child.stdout.close()
    assert child.returncode == 1
    assert traces(name) == []


def test_a_signal_in_this_process_is_told_and_its_handler_restored():
    before = signal.getsignal(signal.SIGTERM)
    lab = Lab("two")
    lab.__enter__()
    with pytest.raises(Interrupted, match="SIGTERM"):
        signal.raise_signal(signal.SIGTERM)
    lab.close()
    assert traces(lab.name) == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_a_killed_run_left_goes_at_the_next_start_and_not_a_living_one():
    dead, dead_name = hold()
    living, living_name = hold()
    try:
        dead.kill()
        dead.wait(PATIENCE)
        with Lab("two"):
            assert traces(dead_name) == []
            assert traces(living_name) != []
    finally:
        living.terminate()
        living.wait(PATIENCE)
        dead.stdout.close()
        living.stdout.close()


def test_a_new_process_with_the_old_id_is_not_the_owner(monkeypatch, tmp_path):
    monkeypatch.setattr(leftovers, "LABS", tmp_path)
    leftovers.claim(tmp_path / "x", [])
    assert leftovers.clear_dead() == []
    owner = json.loads((tmp_path / "x" / "owner.json").read_text())
    (tmp_path / "x" / "owner.json").write_text(json.dumps(owner | {"started": "1"}))
    assert leftovers.clear_dead() == ["x"]


def test_programs_see_the_private_bpffs_and_no_setting_of_the_caller(two, monkeypatch):
    monkeypatch.setenv("VOXDP_SIP__DOMAIN", "elsewhere")
    shown = two.spawn(two.relay, "sh", "-c", f"stat -fc %T {two.bpffs}; env")
    shown.wait(PATIENCE)
    assert "bpf_fs" in shown.text()
    assert "VOXDP" not in shown.text()


def test_a_program_that_is_missing_or_fails_is_told_in_one_line(two):
    with pytest.raises(LabError, match="no-such-program is not installed; run: scripts/setup"):
        run("no-such-program")
    with pytest.raises(LabError, match="failed with 3: because"):
        run("sh", "-c", "echo because >&2; exit 3")
    with pytest.raises(LabError, match="ended with 4 before start: goodbye"):
        two.spawn(two.relay, "sh", "-c", "echo goodbye; exit 4").wait_for("start", lambda text: "hello" in text)
