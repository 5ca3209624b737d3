# SPDX-License-Identifier: GPL-3.0-or-later
"""Under load, controllers are killed and the program is upgraded: every packet arrives.

left ── a sends, right.0 ── b receives; the relay is on left and right.0. The packets are live frames of test runs,
of which the receiver is an XDP counter, so nothing but the relay and the cables can lose one.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ctl.flowrule import FlowRule, FlowState
from ctl.flowtable import FlowTable
from ctl.libbpf import BpfObject, Link, Map, Program
from ctl.loader import attach
from ctl.pins import Pins

FLOWS, FIRST_PORT = 64, 10000
BURST, BATCH = 20_000, 32
CALLER, CALLEE, RELAY = ("203.0.113.5", 4000), ("203.0.113.9", 5000), "192.0.2.1"
CONTROLLER = """
import itertools, sys
from pathlib import Path
from ctl.flowrule import FlowRule, FlowState
from ctl.flowtable import FlowTable
table = FlowTable.open(Path(sys.argv[1]))
peer = ("203.0.113.77", 7000)
for count in itertools.count():
    here = ("198.51.100.1", 12000 + count % 1000)
    table.write(table.index(*here), FlowRule(FlowState.PINNED, peer, here, peer))
    table.active() if count % 100 == 0 else table.read(count % 20000)
    if count == 1000:
        print("writing", flush=True)
"""


@dataclass
class Load:
    """Sends bursts until told to stop."""

    generator: Program
    received: Map
    frame: bytes
    sent: int = 0
    seconds: float = 0
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        start = time.monotonic()
        while not self.stopping.is_set():
            self.generator.test_run(self.frame, repeat=BURST, live_frames=True, batch=BATCH)
            self.sent += BURST
        self.seconds = time.monotonic() - start

    def arrived(self) -> int:
        return sum(struct.unpack("Q", count)[0] for count in self.received.lookup_percpu(bytes(4)))


@pytest.fixture
def quiet(cabled) -> None:
    """No IPv6: its neighbour discovery would be counted at the receiver."""
    for name in (cabled.left, cabled.right, *cabled.ends):
        Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")


@pytest.fixture
def load(cabled, quiet, attached: Pins, rtp) -> Iterator[Load]:
    """Flows of FLOWS ports are on; the sender is running."""
    write_flows(attached, socket.if_nametoindex(cabled.right))
    frame = rtp(CALLER, (RELAY, FIRST_PORT))
    out, back = map(socket.if_nametoindex, cabled.ends)
    baseline = BpfObject.open(Path(__file__).resolve().parents[3] / "bpf/baseline.bpf.o", rodata=spread(frame, out))
    baseline.load()
    sink = Link.attach_xdp(baseline.program("sink"), back, "native")
    load = Load(baseline.program("generate"), baseline.map("received"), frame)
    sender = threading.Thread(target=load.run)
    sender.start()
    yield load
    load.stopping.set()
    sender.join()
    sink.destroy()


def write_flows(pins: Pins, ifindex: int) -> None:
    table = FlowTable.open(pins.directory)
    for port in range(FIRST_PORT, FIRST_PORT + FLOWS):
        egress = ("198.51.100.1", port)
        rule = FlowRule(FlowState.PINNED, CALLER, egress, CALLEE, ifindex=ifindex, clock_rate=8000)
        table.write(table.index(RELAY, port), rule)
    table.close()


def spread(frame: bytes, ifindex: int) -> bytes:
    """Struct spread_config of bpf/baseline.bpf.c: one packet for each port in turn."""
    head = struct.pack("=II", FLOWS, 1) + frame[26:34] + frame[34:36]
    return head + struct.pack("=HI", FIRST_PORT, ifindex) + frame[:12] + frame[24:26] + bytes(2)


def kill_a_controller(pins: Pins) -> None:
    command = [sys.executable, "-c", CONTROLLER, str(pins.directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as controller:
        assert controller.stdout is not None
        assert controller.stdout.readline() == "writing\n"
        os.kill(controller.pid, signal.SIGKILL)
    assert controller.returncode == -signal.SIGKILL


def finish(load: Load) -> None:
    """Every packet arrived, at the rate that the test is about."""
    load.stopping.set()
    deadline = time.monotonic() + 10
    while not load.seconds and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    rate = load.sent / load.seconds
    print(f"{load.sent} packets sent at {rate:,.0f}/s, {load.sent - load.arrived()} lost")
    assert load.arrived() == load.sent
    assert rate >= 50_000


def test_nothing_is_lost_while_controllers_are_killed(attached: Pins, load: Load) -> None:
    for _ in range(5):
        kill_a_controller(attached)
    finish(load)
    table = FlowTable.open(attached.directory)
    flows = table.read_many(range(FIRST_PORT, FIRST_PORT + FLOWS))
    assert sum(flow.packets for flow in flows) == load.sent
    assert sum(flow.dropped + flow.rejected for flow in flows) == 0
    assert table.generation(table.index("198.51.100.1", 12000))


def test_nothing_is_lost_while_the_program_is_upgraded(settings, attached: Pins, load: Load) -> None:
    programs = {attach(settings).program_id for _ in range(20)}
    assert len(programs) == 20
    finish(load)


def test_nothing_is_lost_when_the_only_process_that_knows_is_gone(settings, attached: Pins, load: Load) -> None:
    """Kill, then upgrade with nobody there, then adopt: the flows are as they were."""
    before = FlowTable.open(attached.directory)
    rules = [before.rule(port) for port in range(FIRST_PORT, FIRST_PORT + FLOWS)]
    before.close()
    kill_a_controller(attached)
    attach(settings)
    adopted = FlowTable.open(attached.directory)
    assert [adopted.rule(port) for port in range(FIRST_PORT, FIRST_PORT + FLOWS)] == rules
    finish(load)
