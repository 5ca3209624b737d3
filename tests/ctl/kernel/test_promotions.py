# SPDX-License-Identifier: GPL-3.0-or-later
"""A call that moves between kernel and engine in mid-sentence: nothing is lost, nothing comes twice or late.

A packet every 2 ms, ten times as many as a voice has, in several calls at once. VOXDP_MOVES=10000 makes it a campaign.
"""

import itertools
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ctl.sessions.engine_carrier import EngineCarrier
from ctl.sessions.kernel_carrier import KernelCarrier
from ctl.sessions.relay_choice import ANY, Facing
from media.client import EngineProcess
from tests.ctl.kernel import wired
from tests.ctl.kernel.wired import ALICE, BOB, Relay, Stream, Wiring, follow, run
from tests.patience import PATIENCE

plain_rtp = wired.rtp
MOVES = int(os.environ.get("VOXDP_MOVES", "1000"))
CALLS = 4
ELSEWHERE = "192.0.2.77"
LIMIT = 0.06
PAUSE = 0.05
RARE = MOVES // 100


@pytest.fixture
def engine(relay: Relay, state_dir: Path) -> Iterator[EngineProcess]:
    process = EngineProcess.ensure(state_dir / "engine.sock", log=state_dir / "engine.log", timeout=PATIENCE)
    kernel = KernelCarrier(relay.table, relay.hops)
    relay.programmer.use(kernel, EngineCarrier(process.client, kernel))
    yield process
    process.stop()
    process.close()


STAMP = struct.Struct("=d")
RECEIVED = struct.Struct("=qq")  # struct timespec
SO_TIMESTAMPNS = 35  # linux: asm-generic/socket.h


def stamped(sequence: int) -> bytes:
    """A packet that tells when it was sent."""
    return plain_rtp(sequence)[:12] + STAMP.pack(time.time()) + bytes(152)


class Ear:
    """What Bob hears: sequence numbers, and the longest time that a packet was on its way, by the kernel's clock."""

    def __init__(self, stream: Stream) -> None:
        self.sequences: list[int] = []
        self.delay = 0.0
        self._stream = stream
        self._over = threading.Event()
        stream.receiver.settimeout(0.1)
        stream.receiver.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while not self._over.is_set():
            try:
                packet, ((_, _, received),), _, _ = self._stream.receiver.recvmsg(2048, 64)
            except TimeoutError:
                continue
            seconds, nanoseconds = RECEIVED.unpack(received)
            (sent,) = STAMP.unpack_from(packet, 12)
            self.sequences.append(struct.unpack_from("!H", packet, 2)[0])
            self.delay = max(self.delay, seconds + nanoseconds / 1e9 - sent)

    def close(self) -> None:
        self._over.set()
        self._thread.join()


@dataclass(frozen=True)
class Talk:
    """One of several calls at once, and what Bob hears of it."""

    stream: Stream
    ear: Ear

    def close(self) -> None:
        self.ear.close()
        self.stream.stop()

    @property
    def heard(self) -> list[int]:
        """Sequence numbers from the first packet on."""
        return [number - self.ear.sequences[0] & 0xFFFF for number in self.ear.sequences]

    @property
    def missing(self) -> int:
        heard = self.heard
        return len(set(range(heard[-1] + 1)) - set(heard))

    @property
    def late(self) -> int:
        return sum(one > other for one, other in itertools.pairwise(self.heard))


def talk(wiring: Wiring, relay: Relay, place: int, here: Facing = ANY) -> Talk:
    target = relay.call(ALICE, BOB, place=place, here=here)
    stream = Stream(wiring, target, (ALICE, 4000 + 2 * place), port=5000 + 2 * place)
    assert follow(relay, stream, PATIENCE, lambda: True), "no packet reached Bob"
    return Talk(stream, Ear(stream))


def move(relay: Relay, steps: int) -> None:
    """To the engine, back to the kernel, and so on, all calls at once."""
    here = relay.sessions.data_plane
    there = replace(here, attached=frozenset(), engine=True)
    for step in range(steps):
        relay.sessions.data_plane = here if step % 2 else there
        assert relay.sessions.replan() == {}
        time.sleep(PAUSE)
    time.sleep(0.1)


@pytest.mark.alone
@pytest.mark.timeout(180)
def test_moves_in_mid_call_lose_nothing(
    wiring: Wiring, relay: Relay, engine: EngineProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wired, "rtp", stamped)
    steps = MOVES // CALLS
    talks = [talk(wiring, relay, place) for place in range(CALLS)]
    hindered, began = hindrance(engine), time.monotonic()
    try:
        move(relay, steps)
    finally:
        for each in talks:
            each.close()
    share = (hindrance(engine) - hindered) / (time.monotonic() - began)
    heard = sum(len(each.heard) for each in talks)
    missing, late = sum(each.missing for each in talks), sum(each.late for each in talks)
    longest = max(each.ear.delay for each in talks)
    print(f"{MOVES} moves, {heard} packets, {missing} lost, {late} late, longest way {longest * 1000:.1f} ms")
    print(f"the engine had no processor for {100 * share:.2f} % of the time, though it could run")
    assert all(len(each.heard) == len(set(each.heard)) for each in talks)
    assert missing == 0
    assert late <= RARE + MOVES / 2 * share, "the engine may still have one in hand when the kernel forwards the next"
    assert longest <= LIMIT
    for place in range(CALLS):
        ended = relay.sessions.delete(f"call{place or ''}", 0.0)
        paths = [each.path for each in ended if (each.leg, each.kind) == ("a", "rtp")]
        assert sorted(paths) == ["engine"] * (steps // 2) + ["kernel"] * (steps // 2 + 1)


def hindrance(engine: EngineProcess) -> float:
    """Seconds for which workers of the engine could run and had no processor."""
    tasks = (Path(f"/proc/{worker}/task") for worker in engine.client.summary().processes)
    return sum(int(each.read_text().split()[1]) for task in tasks for each in task.glob("*/schedstat")) / 1e9


def test_whom_a_flow_latched_to_goes_along(wiring: Wiring, relay: Relay, engine: EngineProcess) -> None:
    """A latching leg is not to prove itself by some packets again, nor may another take its place meanwhile."""
    run("ip", "-n", wiring.a, "address", "add", f"{ELSEWHERE}/24", "dev", "a-east")
    source = (ELSEWHERE, 9000)
    stream = Stream(wiring, relay.call(ALICE, BOB, here=Facing(latch=True)), source)
    assert follow(relay, stream, PATIENCE, lambda: True), "no packet reached Bob"
    one = Talk(stream, Ear(stream))
    try:
        move(relay, 10)
    finally:
        one.close()
    assert (one.missing, len(one.heard) > 100) == (0, True)
    (flow,) = (each for each in relay.sessions.query("call") if (each.leg, each.kind) == ("a", "rtp"))
    assert (flow.path, flow.source) == ("kernel", source)
