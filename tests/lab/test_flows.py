# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator sees of a real call: quality, digits, why it is heard or not, and its packets."""

import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ctl.kernel.flowrule import FlowFlag
from ctl.kernel.flowtable import FlowTable
from ctl.kernel.pins import Pins
from tests.lab.conftest import World
from vm.lab import Lab
from vm.process import PATIENCE, inside, run

MODULES = Path("/lib/modules")
VOXDP = Path(sys.executable).parent / "voxdp"
FRAMES = 240
"""Of both parties, each packet before and after the relay: ten of each even if one is held up for a second."""
SOME = 6000
"""Bytes in which there are frames: one has no more than 400."""
pytestmark = pytest.mark.xdist_group("shared lab")


@pytest.fixture(scope="module")
def placed():
    """One lab for all of this."""
    with Lab("two") as lab:
        yield World(lab, "native", "", 120)


@pytest.fixture
def talking(placed):
    """A call between alice and bob, a new one if the last has ended."""
    if not placed.controller.ask("call", "list"):
        placed.connect(placed.alice, placed.bob)
    placed.carried(20)
    return placed


def measured(world, seconds=PATIENCE):
    """Both directions of RTP once their quality and the round trip are known, of a while when no phone was held up."""
    deadline = time.monotonic() + seconds
    while True:
        flows = world.flows()
        if len(flows) == 2 and all(map(even, flows)):
            return flows
        assert time.monotonic() < deadline, flows
        time.sleep(0.2)


def even(flow):
    """Phones on a busy machine send late, and their reports wait."""
    if flow["mos"] is None or flow["rtt_ms"] is None or flow["packets_per_second"] is None:
        return False
    return flow["mos"] > 3 and 0 <= flow["rtt_ms"] < 2000 and 20 < flow["packets_per_second"] < 80


def least(world):
    """The least MOS by the flows and that by the call, with no change between the answers; and the call's codec."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        before = min(flow["mos_min"] for flow in world.flows())
        (call,) = world.controller.look("call", "list")
        if min(flow["mos_min"] for flow in world.flows()) == before:
            return before, call["mos_min"], call["codec"]
    raise AssertionError("it never rests")


def explained(world, **causes):
    """What is told of each direction, by leg, once these are the causes."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = {each["leg"]: each for each in world.controller.ask("flow", "explain", call_of(world))}
        if {leg: each["cause"] for leg, each in found.items()} == causes:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.5)


def observed(world, histogram, seconds=PATIENCE):
    """Wait until the histogram has something in it: the next interval, once all is known."""
    deadline = time.monotonic() + seconds
    while True:
        lines = world.controller.fetch("/metrics").splitlines()
        if any(float(line.split()[1]) >= 1 for line in lines if line.startswith(histogram)):
            return
        assert time.monotonic() < deadline, histogram
        time.sleep(0.3)


def flagged(world):
    table = FlowTable.open(Pins(world.lab.bpffs).directory)
    try:
        return sum(bool(table.rule(index).flags & FlowFlag.CAPTURE) for index in table.active())
    finally:
        table.close()


def until_flagged(world, count):
    until(lambda: flagged(world) == count)


def until(holds):
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def packets(path, *fields):
    columns = [part for field in fields for part in ("-e", field)]
    done = subprocess.run(["tshark", "-r", path, "-T", "fields", *columns], capture_output=True, text=True, check=True)
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_a_call_is_captured_before_and_after_the_relay(talking, tmp_path):
    (call,) = talking.controller.ask("call", "list")
    file = tmp_path / "call.pcapng"
    talking.controller.command("capture", "--call", call["id"][:8], "-c", str(FRAMES), "-w", str(file))
    until_flagged(talking, 0)
    assert file.stat().st_mode & 0o777 == 0o600
    flows = {(flow["leg"], flow["kind"]): flow for flow in talking.controller.ask("flow", "list")}
    rows = packets(file, "frame.interface_name", "frame.packet_flags_direction", "ip.src", "udp.srcport", "ip.dst",
                   "udp.dstport", "frame.comment")  # fmt: skip
    assert len(rows) == FRAMES
    for leg in ("a", "b"):
        flow = flows[leg, "rtp"]
        mine = [row for row in rows if f"flow {flow['id']} (rtp from leg {leg}) of call {call['id']}" in row[6]]
        came = [row for row in mine if row[6].endswith("as it came")]
        left = [row for row in mine if row[6].endswith("as it left")]
        assert len(came) > 10
        assert abs(len(came) - len(left)) <= 1
        assert {tuple(row[2:6]) for row in came} == {ends(flow["source"], flow["local"])}
        assert {tuple(row[2:6]) for row in left} == {ends(flow["egress"], flow["target"])}
        assert {int(row[1], 0) for row in came} == {1}
        assert {int(row[1], 0) for row in left} == {2}
        assert {row[0] for row in came} != {row[0] for row in left}


def ends(source, target):
    return source["address"], str(source["port"]), target["address"], str(target["port"])


def test_a_capture_ends_with_its_command_and_with_its_controller(talking, tmp_path):
    (call,) = talking.controller.ask("call", "list")
    command = [VOXDP, "-c", talking.controller.config, "capture", "--call", call["id"], "-w", tmp_path / "x.pcapng"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as killed:
        until_flagged(talking, 4)
        killed.send_signal(signal.SIGKILL)
    until_flagged(talking, 0)
    with subprocess.Popen([*command[:-1], "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as piped:
        until_flagged(talking, 4)
        refused = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (refused.returncode, refused.stderr) == (1, "voxdp: another capture is under way; end it first\n")
        data = b""
        while len(data) < SOME:
            data += (chunk := os.read(piped.stdout.fileno(), SOME))
            assert chunk
        piped.send_signal(signal.SIGINT)
        rest, told = piped.communicate(timeout=PATIENCE)
    assert piped.returncode == 0
    assert b"frames captured" in told
    (tmp_path / "piped.pcapng").write_bytes(data + rest)
    assert len(packets(tmp_path / "piped.pcapng", "frame.number")) > 10
    last = tmp_path / "last.pcapng"
    with subprocess.Popen([*command[:-1], last], stderr=subprocess.PIPE) as left:
        until(lambda: last.exists() and last.stat().st_size > SOME)
        os.kill(talking.controller.pid, signal.SIGKILL)
        assert b"or the controller has ended" in left.communicate(timeout=PATIENCE)[1]
    assert flagged(talking) == 4
    talking.controller.start()
    until_flagged(talking, 0)
    assert len(packets(last, "frame.number")) > 10


@pytest.fixture
def headers():
    """Kernel headers where BCC looks for them; Debian's, if there are none of the kernel that runs."""
    place = MODULES / platform.release()
    if place.exists():
        yield
        return
    place.symlink_to(max(MODULES.glob("*/build")).parent)
    yield
    place.unlink()


def test_the_relay_is_traced_for_real(talking, headers):
    flow = talking.flows()[0]
    knock = "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
    knock += "[s.sendto(bytes([128]) + bytes(171), (sys.argv[1], int(sys.argv[2]))) for _ in range(9)]"
    command = [VOXDP, "-c", talking.controller.config, "trace", "-j", "-w", "6", "-n", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tracing:
        while tracing.poll() is None:
            run(*inside(talking.lab.a.namespace, ["python3", "-c", knock, *map(str, flow["local"].values())]))
        found = json.loads(tracing.communicate(timeout=PATIENCE)[0])
    assert found["packets_by_reason"]["forwarded"] >= 150
    assert found["packets_by_reason"]["wrong_source"] >= 9
    assert sum(slot["count"] for slot in found["latency_ns"]) >= 150
    assert sum(slot["count"] for slot in found["batch_frames"]) >= 50
    assert all(slot["from"] > 100 for slot in found["latency_ns"])
    assert found["lost"] == []


def test_digits_are_shown(talking):
    talking.alice.dtmf("42#")
    deadline = time.monotonic() + PATIENCE
    while not any(flow["dtmf"] == "42#" for flow in talking.flows() if flow["leg"] == "a"):
        assert time.monotonic() < deadline, json.dumps(talking.flows())
        time.sleep(0.1)


def test_quality_is_measured_shown_and_recorded(talking):
    flows = measured(talking)
    for flow in flows:
        assert 1 <= flow["mos_min"] <= flow["mos"] <= 4.5, flow
        assert flow["loss_pct"] == flow["far_loss_pct"] == 0, flow
    by_flows, by_call, codec = least(talking)
    assert (by_call, codec) == (by_flows, "PCMU")
    assert explained(talking, a="flowing", b="flowing")["a"]["failed_check"] is None
    observed(talking, "voxdp_rtp_mos_count")
    observed(talking, "voxdp_rtp_rtt_seconds_count")
    record = talking.finish(talking.alice, talking.bob)
    for direction in record["directions"]:
        assert 1 <= direction["mos_min"] <= direction["mos_avg"] <= 4.5
        assert direction["loss_pct"] == 0
        assert 0 < direction["jitter_max_ms"] < 1000
        assert 0 <= direction["rtt_ms"] < 10_000
    assert min(direction["mos_min"] for direction in record["directions"]) <= by_flows + 0.005, "flows round it"


def test_a_party_that_falls_silent_is_named(talking):
    talking.bob.kill()
    found = explained(talking, a="far_side_silent", b="stopped")
    assert "tcpdump -ni r-b udp port" in found["b"]["remedy"]


def call_of(world):
    (call,) = world.controller.look("call", "list")
    return call["id"][:8]
