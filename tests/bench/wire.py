# SPDX-License-Identifier: GPL-3.0-or-later
"""End to end on veth; what counts is the packets that were received.

    generator --- vxba : vxra   relay   vxrb : vxbb --- sink

Live frames come from BPF_PROG_TEST_RUN. Programs and IP forwarding are compared with all of it on one CPU, generator
and sink too. A relay in user space would share that CPU with the generator; so it is compared where everything but the
generator is on a second CPU, by threaded NAPI, and the load is beyond what can be carried.
"""

import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ctl.kernel.libbpf import Link, Program
from tests.bench import lab
from tests.bench.figures import Figure
from tests.bench.rig import FIRST_PORT, Relay, baseline, frame, rule

FLOWS = 1000
FRAMES = 1_500_000
ROUNDS = 11
BATCH = 64
GENERATOR_CPU, RELAY_CPU = 0, 1


def measure() -> Iterator[Figure]:
    if len(os.sched_getaffinity(0)) < 2:
        raise RuntimeError("end to end figures need two CPUs: one makes packets, the other carries them")
    with lab.Topology(None) as topology:
        rates = Bench(topology).run("relay", "empty", "forwarding")
    yield ratio("empty XDP redirect", rates["relay"], rates["empty"], 0.85, "all on one CPU")
    yield ratio("kernel IP forwarding", rates["relay"], rates["forwarding"], 2.5, "all on one CPU")
    with lab.Topology(RELAY_CPU) as topology:
        rates = Bench(topology).run("relay", "sockets")
    yield ratio("recvmmsg/sendmmsg relay", rates["relay"], rates["sockets"], 8, "generator on another CPU")


def ratio(name: str, relay: list[float], other: list[float], goal: float, layout: str) -> Figure:
    """Of the best rounds: whatever else the machine does can only slow a round down."""
    dividend, divisor = max(relay), max(other)
    carried = f"{dividend / 1000:.0f} / {divisor / 1000:.0f} kpps"
    how = f"veth, {FLOWS} flows, {layout}, best of {ROUNDS} x {FRAMES} frames: {carried} received"
    return Figure(f"relay redirect / {name}", dividend / divisor, "x", ">=", goal, how)


class Bench:
    """The four ways to carry packets through one topology."""

    def __init__(self, topology: lab.Topology) -> None:
        self.topology = topology
        self.relay = Relay(lab.RELAY)
        macs = topology.mac("vxbb") + topology.mac("vxrb")
        for port in range(FIRST_PORT, FIRST_PORT + FLOWS):
            one = rule(lab.SOURCE, (lab.EGRESS, port), (lab.TARGET, port), topology.ifindex("vxrb"), macs)
            self.relay.table.write(port, one)
        to_relay = topology.mac("vxra") + topology.mac("vxba")
        self.to_relay = baseline(FLOWS, lab.SOURCE, lab.RELAY, topology.ifindex("vxba"), to_relay)
        self.to_target = baseline(FLOWS, lab.SOURCE, lab.TARGET, topology.ifindex("vxba"), to_relay)
        self.onward = baseline(FLOWS, lab.SOURCE, lab.RELAY, topology.ifindex("vxrb"), macs)
        self.sink = baseline(FLOWS, lab.SOURCE, lab.RELAY)
        self.packet = frame(lab.SOURCE, (lab.RELAY, FIRST_PORT))

    def run(self, *names: str) -> dict[str, list[float]]:
        """Packets a second that arrived, by variant, interleaved so that a slow moment meets all."""
        variants: dict[str, Callable[[], float]] = {
            "relay": lambda: self.by_xdp(self.relay.program),
            "empty": lambda: self.by_xdp(self.onward.program("empty_redirect")),
            "forwarding": self.by_kernel,
            "sockets": self.by_sockets,
        }
        rates: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(ROUNDS):
            for name in names:
                rates[name].append(variants[name]())
        return rates

    def by_xdp(self, program: Program) -> float:
        with (
            self.attached(program, "vxra", lab.RELAY_SPACE),
            self.attached(self.sink.program("sink"), "vxbb", lab.OUTSIDE),
        ):
            return self.rate(self.to_relay.program("generate"))

    def by_kernel(self) -> float:
        with self.topology.forwarding(), self.topology.packet_sink(self.sink.program("sink_skb")):
            return self.rate(self.to_target.program("generate"))

    def by_sockets(self) -> float:
        with self.topology.socket_relay(FLOWS), self.topology.packet_sink(self.sink.program("sink_skb")):
            return self.rate(self.to_relay.program("generate"))

    @contextmanager
    def attached(self, program: Program, interface: str, space: str) -> Iterator[None]:
        with lab.inside(space):
            link = Link.attach_xdp(program, self.topology.ifindex(interface), "native")
        try:
            yield
        finally:
            with lab.inside(space):
                link.destroy()

    def rate(self, generator: Program) -> float:
        with lab.inside(lab.OUTSIDE), lab.on_cpu(GENERATOR_CPU):
            before, began = self.received(), time.perf_counter()
            generator.test_run(self.packet, repeat=FRAMES, live_frames=True, batch=BATCH)
            return (self.received() - before) / (time.perf_counter() - began)

    def received(self) -> int:
        counts = self.sink.map("received").lookup_percpu(bytes(4))
        return sum(struct.unpack("=Q", count)[0] for count in counts)
