# SPDX-License-Identifier: GPL-3.0-or-later
"""Load on an attached relay, and whether all of it arrived.

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
from dataclasses import dataclass, field
from pathlib import Path

from ctl.kernel.flowrule import FlowRule, FlowState
from ctl.kernel.flowtable import FlowTable
from ctl.kernel.libbpf import BpfObject, Link, Map, Program
from ctl.kernel.pins import Pins
from tests.patience import PATIENCE

FLOWS, FIRST_PORT = 64, 10000
PORTS = range(FIRST_PORT, FIRST_PORT + FLOWS)
RATE = 50_000
BURST, BATCH = 20_000, 32
CALLER, CALLEE, RELAY = ("203.0.113.5", 4000), ("203.0.113.9", 5000), "192.0.2.1"
CONTROLLER = """
import itertools, sys
from pathlib import Path
from ctl.kernel.flowrule import FlowRule, FlowState
from ctl.kernel.flowtable import FlowTable
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
    """Sends bursts to FLOWS ports until told to stop."""

    generator: Program
    received: Map
    frame: bytes
    sink: Link
    sent: int = 0
    seconds: float = 0
    stopping: threading.Event = field(default_factory=threading.Event)
    sender: threading.Thread | None = None

    @classmethod
    def begin(cls, frame: bytes, ends: tuple[str, str]) -> Load:
        """Load the generator for the interface `ends[0]` and a counter on `ends[1]`; start to send."""
        out, back = map(socket.if_nametoindex, ends)
        programs = BpfObject.open(Path(__file__).parents[3] / "bpf/baseline.bpf.o", rodata=spread(frame, out))
        programs.load()
        sink = Link.attach_xdp(programs.program("sink"), back, "native")
        load = cls(programs.program("generate"), programs.map("received"), frame, sink)
        load.sender = threading.Thread(target=load._run)
        load.sender.start()
        return load

    def close(self) -> None:
        """End sender and counter; again is harmless."""
        self.stop()
        if self.sink.ifindex:
            self.sink.destroy()

    def arrived(self) -> int:
        return sum(struct.unpack("Q", count)[0] for count in self.received.lookup_percpu(bytes(4)))

    def finish(self, least: int = 0) -> None:
        """Go on until `least` packets were sent; every packet must have arrived, at RATE or more."""
        deadline = time.monotonic() + PATIENCE
        while self.sent < least and time.monotonic() < deadline:
            time.sleep(0.01)
        self.stop()
        time.sleep(0.05)
        rate = self.sent / self.seconds
        print(f"{self.sent} packets sent at {rate:,.0f}/s, {self.sent - self.arrived()} lost")
        assert self.arrived() == self.sent >= least
        assert rate >= RATE

    def stop(self) -> None:
        self.stopping.set()
        if self.sender:
            self.sender.join()

    def _run(self) -> None:
        # A signal would cut a burst short, and how short is not told: SIGCHLD comes where children are made.
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        start = time.monotonic()
        while not self.stopping.is_set():
            self.generator.test_run(self.frame, repeat=BURST, live_frames=True, batch=BATCH)
            self.sent += BURST
        self.seconds = time.monotonic() - start


def rules(interface: str) -> dict[int, FlowRule]:
    """The rules of FLOWS ports of RELAY by index, toward `interface`."""
    ifindex = socket.if_nametoindex(interface)
    return {
        port: FlowRule(FlowState.PINNED, CALLER, ("198.51.100.1", port), CALLEE, ifindex=ifindex, clock_rate=8000)
        for port in PORTS
    }


def write_flows(pins: Pins, interface: str) -> None:
    table = FlowTable.open(pins.directory)
    for index, rule in rules(interface).items():
        table.write(index, rule)
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
