# SPDX-License-Identifier: GPL-3.0-or-later
"""What a packet costs in the engine, beside rtpengine's userspace daemon in the same namespaces; memory; delay.

The peers are a program of ours on CPU 0, the relay runs on CPU 1. On a veth pair, whoever sends runs the receiver's
side too. So what arrives outside is counted and dropped before the network stack, as if the peers were other machines:
no relay pays for how they receive. One call's packets are let through and timed.
"""

import os
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.bench import codecs
from tests.bench.figures import Figure
from tests.bench.lab import filtered, inside, on_cpu, run
from tests.bench.rig import baseline
from tests.bench.userspace import (
    CALLED,
    CALLER,
    FIRST_PEER_PORT,
    MASTER,
    PEER_LINK,
    RELAY,
    RELAY_LINK,
    SUITE_NUMBER,
    Relay,
    ours,
    rtpengine,
)

ROOT = Path(__file__).resolve().parents[2]
PEERS_CPU, RELAY_CPU = 0, 1
SECONDS = 4.0
ROUNDS = 2
CALLS = {"voxdp": 300, "rtpengine": 150}
"""Calls of 100 packets a second, so that either relay has about a quarter of its CPU to do."""
RING_PAIRS, RING_ROUNDS = 600, 3
MANY_CALLS = 1000
PACKETS_PER_CALL = 100
Start = Callable[[str, int, Path, int, bool], AbstractContextManager[Relay]]


@dataclass(frozen=True)
class Outcome:
    """packets a relay sent on, by each CPU second; the delays of one call in microseconds."""

    rate: float
    load: float
    delays: list[int]


class Bench:
    """Two namespaces and the peers' program, until `close`."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.outside, self.relay = (f"vxeng-{os.getpid()}-{name}" for name in ("out", "relay"))
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="voxdp-bench-")))

    def __enter__(self) -> "Bench":
        try:
            self._build()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *failure: object) -> None:
        self._stack.close()

    def carry(self, start: Start, calls: int, secured: bool) -> Outcome:
        """Let a relay carry that many calls for a while."""
        with start(self.relay, RELAY_CPU, self.folder, calls, secured) as relay:
            before, received = relay.cpu_seconds(), self._received()
            delays = self._talk(relay, secured)
            used, arrived = relay.cpu_seconds() - before, self._received() - received
        expected = SECONDS * PACKETS_PER_CALL * calls
        if arrived < 0.95 * expected:
            raise RuntimeError(f"{relay.name}: {arrived} of {expected:.0f} packets arrived")
        return Outcome(arrived / used, used / SECONDS, delays)

    def memory(self, calls: int) -> int:
        """Bytes that the engine has with that many calls, RTP and RTCP, after a second of talk."""
        with ours(self.relay, RELAY_CPU, self.folder, calls, True) as relay:
            if calls:
                self._talk(relay, True, 1.0)
            return relay.memory()

    def _talk(self, relay: Relay, secured: bool, seconds: float = SECONDS) -> list[int]:
        suite = SUITE_NUMBER if secured else 0
        words = [seconds, len(relay.ports), FIRST_PEER_PORT, RELAY, RELAY, CALLER, CALLED, suite, MASTER.hex()]
        ports = [port for pair in relay.ports for port in pair]
        with inside(self.outside), on_cpu(PEERS_CPU):
            return [int(line) for line in run(f"{self.folder}/voice", *map(str, [*words, *ports])).splitlines()[1:]]

    def _received(self) -> int:
        """Datagrams that came out of the relay."""
        return sum(struct.unpack("=Q", count)[0] for count in self._sink.map("received").lookup_percpu(bytes(4)))

    def _build(self) -> None:
        sources = [ROOT / "media" / name for name in ("srtp.c", "srtp_setup.c", "srtp_history.c", "packet.c")]
        command = ["gcc", "-std=gnu11", "-O2", "-D_GNU_SOURCE", "-pthread", f"-I{ROOT / 'media'}", f"-I{ROOT / 'bpf'}"]
        command += ["-o", f"{self.folder}/voice", ROOT / "tests/bench/voice.c", *sources, "-lcrypto"]
        subprocess.run(command, check=True)
        for space in (self.outside, self.relay):
            run("ip", "netns", "add", space)
            self._stack.callback(run, "ip", "netns", "del", space)
            run("ip", "-n", space, "link", "set", "lo", "up")
        pair = ["link", "add", PEER_LINK, "type", "veth", "peer", "name", RELAY_LINK, "netns", self.relay]
        run("ip", "-n", self.outside, *pair)
        for space, name, *addresses in ((self.outside, PEER_LINK, CALLER, CALLED), (self.relay, RELAY_LINK, RELAY)):
            for address in addresses:
                run("ip", "-n", space, "address", "add", f"{address}/24", "dev", name)
            run("ip", "-n", space, "link", "set", name, "up")
        self._sink = baseline(1, (CALLER, FIRST_PEER_PORT), RELAY)
        self._stack.enter_context(filtered(self.outside, PEER_LINK, self._sink.program("sink_but_one")))


def measure() -> Iterator[Figure]:
    """Yield the figures of SRTP, plain relaying, memory and delay."""
    with Bench() as bench:
        for secured, name, goal in ((True, "engine srtp", 3.0), (False, "engine relay", 1.3)):
            yield from compare(bench, secured, name, goal)
        empty, full = bench.memory(0), bench.memory(MANY_CALLS)
        yield compare_rings(bench)
    how = f"proportional set size of all processes, {MANY_CALLS} calls SRTP↔RTP with RTCP, after a second of talk"
    yield Figure("engine memory per call", (full - empty) / MANY_CALLS / 1000, "kB", "<=", 25.0, how)
    yield Figure("engine memory", full / 1e6, "MB", "<=", 250.0, how)
    yield from codecs.measure()


def compare_rings(bench: Bench) -> Figure:
    """A bare socket relay by epoll over the same by io_uring: beyond the goal, the choice of epoll is to be revised."""
    program = bench.folder / "rings"
    source = Path(__file__).with_name("rings.c")
    run("gcc", "-std=gnu11", "-O2", "-D_GNU_SOURCE", "-pthread", "-o", str(program), str(source))
    ways: dict[str, list[float]] = {"epoll": [], "uring": []}
    for _ in range(RING_ROUNDS):
        for way, found in ways.items():
            words = run("prlimit", "--nofile=20000:20000", str(program), way, str(RING_PAIRS), "50", "2").split()
            found.append(float(words[0]) / 1000)
    epoll, uring = (min(found) for found in ways.values())
    how = (
        f"{RING_PAIRS} sockets at 50 packets a second on loopback: epoll {epoll:.2f} µs a packet, io_uring {uring:.2f}"
    )
    return Figure("engine io_uring gain", epoll / uring, "×", "<=", 1.5, how)


def compare(bench: Bench, secured: bool, name: str, goal: float) -> Iterator[Figure]:
    """Yield packets per CPU second of ours over theirs: the better of two rounds each, turn by turn."""
    found: dict[str, list[Outcome]] = {"voxdp": [], "rtpengine": []}
    for _ in range(ROUNDS):
        found["voxdp"].append(bench.carry(ours, CALLS["voxdp"], secured))
        found["rtpengine"].append(bench.carry(rtpengine, CALLS["rtpengine"], secured))
    mine, theirs = (max(outcomes, key=lambda outcome: outcome.rate) for outcomes in found.values())
    cost = [f"{1e6 / outcome.rate:.2f} µs" for outcome in (mine, theirs)]
    how = f"CPU of all threads, A B A B: {cost[0]} a packet, rtpengine {cost[1]}"
    yield Figure(f"{name} / rtpengine", mine.rate / theirs.rate, "×", ">=", goal, how)
    if secured:
        delays = sorted(mine.delays)
        p99 = delays[int(len(delays) * 0.99)] / 1000
        how = f"sender to receiver, {len(delays)} packets of one of {CALLS['voxdp']} calls, CPU {mine.load:.0%} busy"
        yield Figure("engine srtp delay p99", p99, "ms", "<=", 1.0, how)
