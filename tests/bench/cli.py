# SPDX-License-Identifier: GPL-3.0-or-later
"""What it costs to look: `voxdp flow list -j` as a whole command, and the controller's own look at quality.

The controller here is its media side alone, in a process of its own: the kernel's flow table with that many flows
in it, the programmer that owns them, the control socket.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from ctl.journal import Journal
from ctl.network.nexthop import NextHop, Route
from ctl.observe.captures import Captures
from ctl.observe.media_watch import TURNS, MediaWatch
from ctl.sessions.flow_plan import FlowPlan
from ctl.sessions.kernel_carrier import KernelCarrier
from ctl.sessions.programmer import Programmer
from ctl.sessions.streams import Codec
from ctl.terminal.client import SOCKET_NAME, ask_raw
from ctl.verbs.control import ControlServer
from ctl.verbs.flows import FlowVerbs
from tests.bench.figures import Figure
from tests.bench.rig import FIRST_PORT, Relay
from tests.patience import PATIENCE

VOXDP = Path(sys.executable).parent / "voxdp"
RELAY = "10.0.0.1"
LISTED, JUDGED = 2_000, 10_000
ROUNDS = 9
MILLISECONDS = 1000


def measure() -> Iterator[Figure]:
    with serving(LISTED) as config:
        command = [str(VOXDP), "-c", str(config), "flow", "list", "-j"]
        took = [_timed(command) for _ in range(ROUNDS)]
    how = f"whole command, start to end; best of {ROUNDS}, median {statistics.median(took):.0f} ms"
    yield Figure(f"{LISTED} flows listed with -j", min(took), "ms", "<=", 150, how)
    began = [_timed([str(VOXDP), "flow", "--help"]) for _ in range(ROUNDS)]
    yield Figure("command line started", min(began), "ms", "<=", 100, f"voxdp flow --help; best of {ROUNDS}")
    share = 100 * look_seconds(JUDGED) / TURNS
    how = f"{JUDGED} RTP directions judged every {TURNS} s: counters, MOS, journal; CPU time, best of 5"
    yield Figure("core taken by quality", share, "%", "<=", 5, how)


@contextmanager
def serving(flows: int) -> Iterator[Path]:
    """A process that answers for so many flows, until the end; yields the configuration that leads to it."""
    with TemporaryDirectory(prefix="voxdp-bench-") as directory:
        config = Path(directory) / "voxdp.toml"
        config.write_text(f'[run]\ndirectory = "{directory}"\n')
        server = subprocess.Popen([sys.executable, "-m", "tests.bench.cli", directory, str(flows)])
        try:
            _wait(Path(directory), server)
            yield config
        finally:
            server.terminate()
            server.wait()


def look_seconds(flows: int) -> float:
    """CPU seconds of all the looks within TURNS seconds at so many RTP directions; every one has new packets."""
    programmer, relay = programmed(2 * flows)
    with TemporaryDirectory(prefix="voxdp-bench-") as directory:
        journal, _ = Journal.open(Path(directory) / "quality", 0.0)
        watch = MediaWatch(programmer, journal, lambda interval: None)
        best = float("inf")
        for number in range(1, 6):
            now = time.monotonic() + number * TURNS
            _count(relay, 250 * number, now)
            began = time.process_time()
            for second in range(TURNS):
                watch.look(now + second)
            best = min(best, time.process_time() - began)
        journal.close()
    return best


class Hops:
    """Every peer is next door."""

    def route(self, target: str, source: str = "") -> Route | None:
        return Route(1, "lo", target, source, True)

    def resolve(self, target: str, source: str = "") -> NextHop | None:
        return NextHop(1, "lo", bytes(6), bytes(6), source)

    def forget(self, target: str, source: str = "") -> None: ...


def programmed(flows: int) -> tuple[Programmer, Relay]:
    """A programmer that has put so many flows into the kernel, four for each call, RTP and RTCP."""
    relay = Relay(RELAY)
    programmer = Programmer(Hops(), KernelCarrier(relay.table, Hops()))
    for number in range(flows // 4):
        port = FIRST_PORT + 4 * number
        programmer.apply(f"{number:024x}", [*_pair(port, port + 2, "rtp"), *_pair(port + 1, port + 3, "rtcp")])
    return programmer, relay


def _pair(first: int, second: int, kind: Any) -> tuple[FlowPlan, FlowPlan]:
    alice, bob = ("192.0.2.10", first), ("198.51.100.20", second)
    codecs = (Codec(0, "PCMU", 8000),) if kind == "rtp" else ()
    rate = 8000 if codecs else 0
    here, there = (RELAY, first), (RELAY, second)
    return (
        FlowPlan("a", 0, kind, here, alice, there, bob, rate, "kernel", codecs=codecs),
        FlowPlan("b", 0, kind, there, bob, here, alice, rate, "kernel", codecs=codecs),
    )


def _count(relay: Relay, packets: int, now: float) -> None:
    """Let every flow have had so many packets by `now`, as the kernel would write it."""
    for index in relay.table.active():
        track = relay.table._flows[index].track
        track.packets, track.bytes, track.last_seen, track.jitter = packets, 172 * packets, round(now * 1e9), 128


def _timed(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - began) * MILLISECONDS


def _wait(directory: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not (directory / SOCKET_NAME).exists():
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the process that holds the flows did not come up")
        time.sleep(0.05)
    json.loads(ask_raw(directory, "flow.list", {}, 30))


async def _serve(directory: Path, flows: int) -> None:
    programmer, relay = programmed(flows)
    _count(relay, 1500, time.monotonic())
    carriers: Any = SimpleNamespace(interfaces={RELAY: "lo"})
    core: Any = SimpleNamespace(calls=list)
    server = ControlServer(
        directory / SOCKET_NAME, FlowVerbs(core, programmer, Hops(), carriers, Captures(programmer, carriers)).table()
    )
    await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
